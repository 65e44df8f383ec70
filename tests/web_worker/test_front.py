import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.websockets import WebSocket

from ipc.errors import Misuse
from web_worker.inside import context, inside_of

CANARY = "hunter2-canary"


def node(name: str = "node") -> str:
    return name


def other(name: str = "other") -> str:
    return name


def shop() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> str:
        return "app"

    @app.get("/breaks")
    async def breaks() -> None:
        raise ZeroDivisionError(CANARY)

    @app.get("/says/{status}")
    async def says(status: int) -> None:
        raise HTTPException(status, "said", headers={"x-a": "b"})

    @app.get("/number/{n}")
    async def number(n: int) -> int:
        return n

    @app.post("/body")
    async def body(payload: dict[str, int]) -> int:
        return len(payload)

    return app


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/hello", 405, "method_not_allowed"),
        ("PUT", "/node", 405, "method_not_allowed"),
        ("GET", "/number/x", 422, "invalid_request"),
        ("GET", "/breaks", 500, "internal"),
        ("GET", "/says/403", 403, "forbidden"),
        ("GET", "/says/418", 418, "http_418"),
        ("GET", "/says/413", 413, "too_large"),
    ],
)
async def test_errors_of_the_app_have_the_one_shape(
    make_site: Any, declare: Any, method: Any, path: Any, status: Any, code: Any
) -> None:
    site = make_site(declare("/node", node), nodes=[node], app=shop())
    answer = await site.ask(method, path, headers={"x-request-id": "r-1"})
    assert answer.status_code == status
    problem = answer.json()
    assert problem.keys() == {"detail", "status_code", "code", "request_id"}
    assert (problem["status_code"], problem["code"], problem["request_id"]) == (status, code, "r-1")
    assert answer.headers["x-request-id"] == "r-1"
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text


async def test_a_body_that_is_no_text_is_complained_of_all_the_same(make_site: Any) -> None:
    site = make_site(app=shop())
    for more in ({"content": b"\xff\xfe"}, {"content": b"{", "headers": {"content-type": "application/json"}}):
        answer = await site.ask("POST", "/body", **more)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_an_answer_without_body_stays_without(make_site: Any) -> None:
    answer = await make_site(app=shop()).ask("GET", "/says/304")
    assert (answer.status_code, answer.content, answer.headers["x-a"]) == (304, b"", "b")


async def test_what_breaks_is_told_once_with_its_traceback(make_site: Any) -> None:
    site = make_site(app=shop())
    await site.ask("GET", f"/breaks?token={CANARY}", headers={"x-request-id": "r-1", "cookie": CANARY})
    (line,) = site.lines()
    assert (line["event"], line["level"], line["request_id"], line["path"]) == ("failed", "error", "r-1", "/breaks")
    assert "ZeroDivisionError" in line["traceback"]
    assert CANARY not in str({name: value for name, value in line.items() if name != "traceback"})


async def test_what_the_app_handles_in_its_own_way_stays_as_it_is(make_site: Any) -> None:
    app = shop()

    @app.exception_handler(404)
    async def lost(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("lost", 404)

    @app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("broken", 500)

    @app.exception_handler(Misuse)
    async def misused(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("misused", 500)

    @app.get("/misuse")
    async def misuse() -> None:
        raise Misuse("x")

    site = make_site(app=app)
    assert (await site.ask("GET", "/nowhere")).text == "lost"
    assert (await site.ask("GET", "/breaks")).text == "broken"
    assert (await site.ask("GET", "/misuse")).text == "misused"


async def test_every_answered_request_gets_one_line(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/node", node), nodes=[node], app=shop())
    await site.ask("GET", "/hello")
    await site.ask("GET", "/node")
    await site.ask("GET", "/nowhere")
    assert [(line["event"], line["path"], line["status"], line["node"]) for line in site.lines()] == [
        ("delivered", "/hello", 200, ""), ("delivered", "/node", 200, "shop.node"), ("delivered", "/nowhere", 404, ""),
    ]  # fmt: skip


async def test_methods_of_one_path_may_be_the_apps_and_ours(make_site: Any, declare: Any) -> None:
    app = shop()

    @app.post("/node")
    async def post() -> str:
        return "app"

    site = make_site(declare("/node", node), declare("/node", other, "PUT"), nodes=[node, other], app=app)
    assert (await site.ask("GET", "/node")).json() == "node"
    assert (await site.ask("PUT", "/node")).json() == "other"
    assert (await site.ask("POST", "/node")).json() == "app"
    answer = await site.ask("DELETE", "/node")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, PUT")


async def test_the_same_method_twice_is_a_fault_of_the_start(make_site: Any, declare: Any) -> None:
    router = APIRouter(prefix="/api")

    @router.get("/users/{user}")
    async def user(user: str) -> str:
        return user

    app = shop()
    app.include_router(router)
    with pytest.raises(Misuse, match=r"GET /api/users/\{user\} is a route of the app"):
        make_site(declare("/api/users/{name}", node), nodes=[node], app=app)
    with pytest.raises(Misuse, match="/hello"):
        make_site(declare("/hello", node), nodes=[node], app=shop())


async def test_exact_paths_of_the_app_come_before_patterns_of_ours(
    make_site: Any, declare: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("file")
    router = APIRouter(prefix="/api")

    @router.get("/me")
    async def me() -> str:
        return "app"

    app = shop()
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=tmp_path))
    site = make_site(declare("/{name}", node), declare("/{x}/{name}", other), nodes=[node, other], app=app)
    assert (await site.ask("GET", "/hello")).json() == "app"
    assert (await site.ask("GET", "/api/me")).json() == "app"
    assert (await site.ask("GET", "/static/a.txt")).text == "file"
    assert (await site.ask("GET", "/docs")).headers["content-type"].startswith("text/html")
    assert (await site.ask("GET", "/tea")).json() == "tea"
    assert (await site.ask("GET", "/api/tea")).json() == "tea"


async def test_exact_paths_of_ours_come_before_catch_alls_of_the_app(make_site: Any, declare: Any) -> None:
    app = FastAPI()

    @app.get("/{rest:path}")
    async def everything(rest: str) -> str:
        return f"app {rest}"

    site = make_site(declare("/node", node), declare("/inside", other, through_app=True), nodes=[node, other], app=app)
    assert (await site.ask("GET", "/node")).json() == "node"
    assert (await site.ask("GET", "/inside")).json() == "other"
    assert (await site.ask("GET", "/x/y")).json() == "app x/y"


async def test_a_slash_too_many_is_led_to_the_right_path(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/node", node), declare("/dir/", other), nodes=[node, other])
    answer = await site.ask("GET", "/node/")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://site/node")
    answer = await site.ask("GET", "/dir")
    assert (answer.status_code, answer.headers["location"]) == (307, "http://site/dir/")


async def test_escaped_paths_arrive_unescaped(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/a b/{name}", node), nodes=[node])
    assert (await site.ask("GET", "/a%20b/K%C3%A4se")).json() == "Käse"
    assert (await site.ask("GET", "/a%20b/x%0Ay")).json() == "x\ny"


async def test_a_proxys_prefix_may_stay_in_the_path_or_not(make_site: Any, declare: Any) -> None:
    with pytest.warns(UserWarning, match="root_path"):
        app = FastAPI(root_path="/shop")
    site = make_site(declare("/node", node), declare("/in", other, through_app=True), nodes=[node, other], app=app)
    for path in ("/node", "/shop/node", "/in", "/shop/in"):
        assert (await site.ask("GET", path)).status_code == 200
    assert (await site.ask("GET", "/shopping/node")).status_code == 404


async def test_preflights_are_the_middlewares_of_the_app(make_site: Any, declare: Any) -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], allow_methods=["GET"])
    site = make_site(declare("/node", node), nodes=[node], app=app)
    headers = {"origin": "https://a.example", "access-control-request-method": "GET"}
    answer = await site.ask("OPTIONS", "/node", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://a.example")


async def test_the_app_finds_out_who_a_request_is(make_site: Any) -> None:
    app = FastAPI()
    logger = logging.getLogger("shop.test")

    @app.get("/who")
    async def who(request: Request) -> dict[str, Any]:
        logger.debug("asked")
        inside = inside_of(request.scope)
        assert inside is not None
        return {"id": inside.who.request_id, "context": dict(context())}

    async def mark(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=mark)  # runs the app in a task of its own
    answer = (await make_site(app=app).ask("GET", "/who", headers={"x-request-id": "r-1"})).json()
    assert answer["id"] == answer["context"]["request_id"] == "r-1"


async def test_an_id_the_app_says_itself_is_not_doubled(make_site: Any) -> None:
    app = FastAPI()

    @app.get("/own")
    async def own() -> PlainTextResponse:
        return PlainTextResponse("x", headers={"X-Request-ID": "mine"})

    assert (await make_site(app=app).ask("GET", "/own")).headers.get_list("x-request-id") == ["mine"]


async def test_an_answer_that_breaks_off_is_broken_off(make_site: Any) -> None:
    app = FastAPI()

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            raise ZeroDivisionError

        return StreamingResponse(pieces())

    site = make_site(app=app)
    with pytest.raises(ZeroDivisionError):  # the server closes the connection: the client must not take it for whole
        await site.ask("GET", "/half")
    assert site.events() == ["failed"]


def test_websockets_and_the_lifespan_are_the_apps(make_site: Any) -> None:
    seen: list[str] = []
    app = FastAPI()
    app.router.add_event_handler("startup", lambda: seen.append("up"))
    app.router.add_event_handler("shutdown", lambda: seen.append("down"))

    @app.websocket("/ws")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        inside = inside_of(websocket.scope)
        assert inside is not None
        await websocket.send_text(inside.who.request_id)
        await websocket.close()

    with TestClient(make_site(app=app).front) as client:
        assert seen == ["up"]
        with client.websocket_connect("/ws", headers={"x-request-id": "r-1"}) as socket:
            assert socket.receive_text() == "r-1"
    assert seen == ["up", "down"]


async def test_why_a_lifespan_failed_is_remembered(make_site: Any) -> None:
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        raise ZeroDivisionError("no database")
        yield

    from contextlib import asynccontextmanager

    site = make_site(app=FastAPI(lifespan=asynccontextmanager(lifespan)))
    messages = [{"type": "lifespan.startup"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await site({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)
    assert "no database" in site.front.lifespan_failure
