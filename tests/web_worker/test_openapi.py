import re
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from fastapi import FastAPI, Header

from exec_worker import Response


class Part(msgspec.Struct):
    name: str


class Order(msgspec.Struct):
    """What is bought."""

    parts: list[Part]
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class Model(pydantic.BaseModel):
    size: int


@dataclass
class Shared:
    title: str


def buy(order: Order, shop: str, tags: list[str] | None = None) -> Model:
    """Buy something.

    And more about it.
    """
    raise NotImplementedError


def shrink(image: bytes, width: int = 256) -> Annotated[bytes, "image/webp"]:
    raise NotImplementedError


def custom(what: Model) -> Response:
    raise NotImplementedError


def clear() -> None:
    return None


def share(asked: Shared) -> Shared:
    raise NotImplementedError


async def document(site: Any) -> dict[str, Any]:
    answer = await site.ask("GET", "/openapi.json")
    assert answer.status_code == 200
    told = answer.json()
    schemas = told.get("components", {}).get("schemas", {})
    for name in re.findall(r'"#/components/schemas/([^"]*)"', msgspec.json.encode(told).decode()):
        assert name in schemas
    return told


async def test_an_endpoint_has_the_schemas_of_its_contract(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/{shop}/orders", buy, "POST", tags=("shop",), status=201), nodes=[buy])
    told = await document(site)
    post = told["paths"]["/{shop}/orders"]["post"]
    assert (post["summary"], post["description"], post["tags"]) == ("Buy something.", "And more about it.", ["shop"])
    assert post["operationId"] == "post_shop_buy"
    parameters = {p["name"]: (p["in"], p["required"], p["schema"]) for p in post["parameters"]}
    assert parameters["shop"] == ("path", True, {"type": "string"})
    assert parameters["tags"][:2] == ("query", False)
    body = post["requestBody"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Order"}
    ok = post["responses"]["201"]["content"]
    assert ok == {"application/json": {"schema": {"$ref": "#/components/schemas/Model"}}}
    schemas = told["components"]["schemas"]
    assert schemas["Order"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert schemas["Part"]["required"] == ["name"]
    assert "200" not in post["responses"]
    for code in ("413", "415", "422", "500", "502", "503", "504"):
        content = post["responses"][code]["content"]
        assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


async def test_bytes_are_said_to_be_bytes_and_nothing_else(make_site: Any, declare: Any) -> None:
    told = await document(make_site(declare("/shrink", shrink, "POST"), nodes=[shrink]))
    post = told["paths"]["/shrink"]["post"]
    binary = {"schema": {"type": "string", "format": "binary"}}
    assert post["requestBody"]["content"] == {"application/octet-stream": binary}
    assert post["responses"]["200"]["content"] == {"image/webp": binary}
    assert post["parameters"][0]["schema"]["default"] == 256
    assert "415" not in post["responses"]


async def test_answers_without_a_body_have_none(make_site: Any, declare: Any) -> None:
    told = await document(make_site(declare("/clear", clear, "DELETE", status=204), nodes=[clear]))
    responses = told["paths"]["/clear"]["delete"]["responses"]
    assert "content" not in responses["204"]
    assert "413" not in responses


async def test_a_parameter_in_the_path_is_required_whatever_its_form(make_site: Any, declare: Any) -> None:
    def file(name: str = "x") -> str:
        return name

    told = await document(make_site(declare("/files/{name:path}", file), nodes=[file]))
    (parameter,) = told["paths"]["/files/{name}"]["get"]["parameters"]
    assert (parameter["in"], parameter["required"]) == ("path", True)


async def test_every_operation_has_its_own_name(make_site: Any, declare: Any) -> None:
    endpoints = [
        declare("/a", clear, "GET", "POST"),
        declare("/b", clear),
        declare("/b/", clear),
        declare("/b.", clear),
    ]
    told = await document(make_site(*endpoints, nodes=[clear]))
    ids = [each["operationId"] for path in told["paths"].values() for each in path.values()]
    assert ids[:3] == ["get_shop_clear", "post_shop_clear", "get_shop_clear_b"]
    assert len(set(ids)) == 5


async def test_schemas_of_the_app_keep_their_names(make_site: Any, declare: Any) -> None:
    app = FastAPI()

    class Part(pydantic.BaseModel):
        different: int

    @app.post("/parts")
    async def parts(part: Part) -> Part:
        return part

    @app.post("/share")
    async def shared(asked: Shared) -> Shared:
        return asked

    nodes = [buy, share]
    site = make_site(declare("/{shop}/orders", buy, "POST"), declare("/shares", share, "POST"), nodes=nodes, app=app)
    told = await document(site)
    schemas = told["components"]["schemas"]
    assert list(schemas["Part"]["properties"]) == ["different"]
    assert list(schemas["Part-Node"]["properties"]) == ["name"]
    assert schemas["Order"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Part-Node"}
    content = told["paths"]["/parts"]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Part"}
    assert "Shared-Node" not in schemas  # the same in both


async def test_nodes_without_an_endpoint_leave_no_trace(make_site: Any, declare: Any) -> None:
    told = await document(make_site(declare("/clear", clear), nodes=[clear, buy]))
    assert list(told["components"]["schemas"]) == ["Problem"]


async def test_parameters_of_dependencies_are_told_once(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("shop_openapi_deps")

    async def tenant(shop: int, x_key: Annotated[str, Header()]) -> None: ...

    module.tenant = tenant  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_openapi_deps", module)
    endpoint = declare("/{shop}/orders", buy, "POST", dependencies=("shop_openapi_deps.tenant",))
    told = await document(make_site(endpoint, nodes=[buy]))
    parameters = told["paths"]["/{shop}/orders"]["post"]["parameters"]
    assert sorted(p["name"] for p in parameters) == ["shop", "tags", "x-key"]


async def test_a_route_that_comes_later_is_in_the_document_too(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])
    before = await document(site)
    assert await document(site) == before

    @site.app.get("/later")
    async def later() -> None: ...

    after = await document(site)
    assert "/later" in after["paths"]
    assert "Problem" in after["components"]["schemas"]


@pytest.mark.parametrize("own", [False, True])
async def test_the_documentation_can_be_left_out(make_site: Any, declare: Any, own: bool) -> None:
    from ipc.messages.settings import WebSettings
    from web_worker.app import base_app

    app = FastAPI()
    module = ModuleType("shop_docs")
    module.app = app  # type: ignore[attr-defined]
    sys.modules["shop_docs"] = module
    try:
        settings = WebSettings((), (), {}, {}, app="shop_docs:app" if own else "", docs=False)
        site = make_site(declare("/clear", clear), nodes=[clear], app=base_app(settings), docs=False)
    finally:
        del sys.modules["shop_docs"]
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
        assert (await site.ask("GET", path)).status_code == 404
    assert (await site.ask("GET", "/clear")).status_code == 200
