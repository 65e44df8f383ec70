"""Declared endpoints with dependencies, or behind the app's middleware."""

import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

CLOSED: list[str] = []


class Order(msgspec.Struct):
    item: str


def buy(order: Order, shop: str, count: int = 1) -> dict[str, Any]:
    return {"item": order.item, "shop": shop, "count": count}


def store(data: bytes) -> bytes:
    return data


async def only_tea(shop: str, request: Request) -> str:
    if shop == "closed":
        raise HTTPException(403, "closed on Sundays")
    return shop


async def signed(request: Request) -> None:
    if b"evil" in await request.body():
        raise HTTPException(401, "bad signature", headers={"www-authenticate": "Hmac"})


async def streamed(request: Request) -> None:
    async for _ in request.stream():
        pass


async def later(tasks: BackgroundTasks) -> None:
    tasks.add_task(CLOSED.append, "task")


async def resource() -> AsyncIterator[None]:
    CLOSED.append("open")
    yield
    CLOSED.append("close")


async def typed(limit: int) -> None: ...


@pytest.fixture(autouse=True)
def shop_deps(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_deps")
    for each in (only_tea, signed, streamed, later, resource, typed):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "shop_deps", module)
    CLOSED.clear()


def deps(*names: str) -> dict[str, Any]:
    return {"dependencies": tuple(f"shop_deps.{name}" for name in names)}


async def test_dependencies_see_the_path_and_may_refuse(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/{shop}/orders", buy, "POST", **deps("only_tea")), nodes=[buy])
    answer = await site.ask("POST", "/tea/orders?count=3", json={"item": "green"}, headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.json()) == (200, {"item": "green", "shop": "tea", "count": 3})
    assert answer.headers.get_list("x-request-id") == ["r-1"]
    assert site.caller.calls[0].meta.request_id == "r-1"
    answer = await site.ask("POST", "/closed/orders", json={"item": "green"})
    assert (answer.status_code, answer.json()["detail"]) == (403, "closed on Sundays")
    assert len(site.caller.calls) == 1
    assert [line["event"] for line in site.lines()] == ["delivered", "delivered"]
    assert [line["node"] for line in site.lines()] == ["shop.buy", ""]


async def test_one_request_has_one_id_in_the_app_and_in_the_endpoint(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/{shop}/orders", buy, "POST", **deps("only_tea")), nodes=[buy])
    answer = await site.ask("POST", "/tea/orders", json={"item": "green"})
    assert site.caller.calls[0].meta.request_id == answer.headers["x-request-id"] == site.lines()[0]["request_id"]


@pytest.mark.parametrize("middleware", [False, True])
async def test_a_body_that_a_dependency_has_read_is_read_again(make_site: Any, declare: Any, middleware: bool) -> None:
    app = FastAPI()
    if middleware:

        async def look(request: Request, call_next: Any) -> Any:
            await request.body()
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=look)
    site = make_site(declare("/store", store, "POST", **deps("signed")), nodes=[store], app=app)
    assert (await site.ask("POST", "/store", content=b"good")).content == b"good"
    answer = await site.ask("POST", "/store", content=b"evil")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Hmac"
    assert len(site.caller.calls) == 1


async def test_a_body_that_a_dependency_has_used_up_is_a_fault_not_a_wait(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST", **deps("streamed")), nodes=[store])
    answer = await site.ask("POST", "/store", content=b"good")
    assert (answer.status_code, answer.json()["code"]) == (500, "misuse")
    assert "request.body()" in site.lines()[0]["detail"]


async def test_dependencies_are_validated_as_fastapi_does(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST", **deps("typed")), nodes=[store])
    assert (await site.ask("POST", "/store?limit=x", content=b"")).status_code == 422
    assert (await site.ask("POST", "/store?limit=1", content=b"y")).content == b"y"


async def test_what_dependencies_leave_for_afterwards_is_done(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST", **deps("resource", "later")), nodes=[store])
    assert (await site.ask("POST", "/store", content=b"x")).content == b"x"
    assert CLOSED == ["open", "task", "close"]


async def test_one_answer_is_sent(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST", **deps("later")), nodes=[store])
    body = {"type": "http.request", "body": b"x", "more_body": False}
    sent = await site.raw([body], method="POST", path="/store")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


async def test_middleware_of_the_app_sees_request_and_answer(make_site: Any, declare: Any, caller: Any) -> None:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=10)
    site = make_site(
        declare("/in", store, "POST", through_app=True), declare("/out", store, "PUT"), nodes=[store], app=app
    )
    large = bytes(100_000)
    caller.does = lambda call: call.reply(memoryview(large), encoding=1)
    inside, outside = await site.ask("POST", "/in", content=b"x"), await site.ask("PUT", "/out", content=b"x")
    assert inside.content == outside.content == large
    assert inside.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in outside.headers


async def test_middleware_that_looks_at_bodies_finds_bytes(make_site: Any, declare: Any, caller: Any) -> None:
    app = FastAPI()
    seen: list[type] = []

    class Looking:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def look(message: Any) -> None:
                seen.append(type(message.get("body", b"")))
                await send(message)

            await self._app(scope, receive, look)

    app.add_middleware(Looking)
    site = make_site(declare("/in", store, "POST", through_app=True), nodes=[store], app=app)
    caller.does = lambda call: call.reply(memoryview(b"view"), encoding=1)
    assert (await site.ask("POST", "/in", content=b"x")).content == b"view"
    assert seen == [bytes, bytes]


async def test_an_apps_own_dependencies_hold_for_declared_endpoints_too(make_site: Any, declare: Any) -> None:
    async def nobody() -> None:
        raise HTTPException(401)

    site = make_site(declare("/store", store, "POST"), nodes=[store], app=FastAPI(dependencies=[Depends(nobody)]))
    assert (await site.ask("POST", "/store", content=b"x")).status_code == 401
    assert not site.caller.calls


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_bounded_before_a_dependency_has_it(make_site: Any, declare: Any, chunked: bool) -> None:
    site = make_site(declare("/store", store, "POST", **deps("signed")), nodes=[store], max_body=100)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 50

    answer = await site.ask("POST", "/store", content=pieces() if chunked else b"x" * 500)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not site.caller.calls


async def test_a_client_that_leaves_cancels_its_call(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/store", store, "POST", **deps("signed")), nodes=[store])
    caller.does = caller.hold
    body = {"type": "http.request", "body": b"x", "more_body": False}
    await site.raw([body, {"type": "http.disconnect"}], method="POST", path="/store")
    assert caller.calls[0].cancelled
    assert site.events() == ["abandoned"]


async def test_patterns_and_exact_paths_keep_their_order(make_site: Any, declare: Any) -> None:
    def any_shop(shop: str) -> str:
        return shop

    def one() -> str:
        return "exact"

    site = make_site(declare("/{shop}", any_shop), declare("/one", one, through_app=True), nodes=[any_shop, one])
    assert (await site.ask("GET", "/one")).json() == "exact"
    assert (await site.ask("GET", "/two")).json() == "two"
