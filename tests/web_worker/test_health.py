from typing import Any

import pytest
from fastapi import FastAPI


def any_of(name: str) -> str:
    return name


async def test_alive_is_whoever_answers(make_site: Any, caller: Any) -> None:
    site = make_site()
    caller.gone = ["cpu"]
    site.health.draining = True
    answer = await site.ask("GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_ready_is_who_would_serve(make_site: Any, caller: Any) -> None:
    site = make_site()
    assert (await site.ask("GET", "/readyz")).json() == {"status": "ready"}
    caller.gone = ["cpu"]
    answer = await site.ask("GET", "/readyz", headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (503, "r-1")
    assert answer.json() == {"status": "waiting", "groups_without_workers": ["cpu"]}
    site.health.draining = True
    answer = await site.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_it_is_only_read(make_site: Any, path: str) -> None:
    site = make_site()
    assert (await site.ask("HEAD", path)).status_code == 200
    answer = await site.ask("POST", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_no_pattern_and_no_app_stands_in_its_way(make_site: Any, declare: Any, path: str) -> None:
    with pytest.warns(UserWarning, match="root_path"):
        app = FastAPI(root_path="/shop")

    @app.get("/{rest:path}")
    async def everything(rest: str) -> str:
        return rest

    site = make_site(declare("/{name}", any_of), nodes=[any_of], app=app)
    assert "status" in (await site.ask("GET", path)).json()
    assert "status" in (await site.ask("GET", "/shop" + path)).json()
    assert (await site.ask("GET", "/other")).json() == "other"
    assert site.caller.calls[0].node == "shop.any_of"
