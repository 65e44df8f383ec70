import asyncio
import functools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx2
import msgspec
import pydantic
import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from exec_worker import Batch, InvalidRequest, Response, node
from ipc.errors import BadResult, Busy, Cancelled, LinkLost, Misuse
from ipc.priority import HIGH, LOW, NORMAL
from web_worker import Handoff, HandoffCaller, get_handoff
from web_worker.handoff import Handoffs


class Model(pydantic.BaseModel):
    size: int
    when: pydantic.AwareDatetime | None = None


class Struct(msgspec.Struct):
    name: str


@dataclass
class Data:
    models: list[Model]


def add(a: int, b: int = 2) -> int:
    return a + b


def resize(model: Model, by: int = 1) -> Model:
    return Model(size=model.size + by, when=model.when)


def many(data: Data) -> list[Model]:
    return data.models


def named(struct: Struct) -> Struct:
    return Struct(struct.name.upper())


def free(value: Any) -> Any:
    return value


def reverse(data: bytes, times: int = 1) -> bytes:
    return data[::-1] if times % 2 else data


def answer(text: str) -> Response:
    return Response(text.encode(), 201, "text/plain", {"X-A": "b"})


def structured() -> Response:
    return Response({"a": 1}, 202)


def wait(timeout: float) -> float:
    return timeout


def refuse() -> None:
    raise InvalidRequest("not on a Sunday")


@node(batch=Batch(max_size=8))
def grow(models: list[Model]) -> list[Model | InvalidRequest]:
    return [InvalidRequest("too small") if m.size < 0 else Model(size=m.size + 1) for m in models]


@node(batch=Batch())
def flip(images: list[bytes]) -> list[bytes]:
    return [image[::-1] for image in images]


@node(batch=Batch())
def tell(words: list[str]) -> list[Response]:
    return [Response(word.encode(), 201, "text/plain") for word in words]


NODES = [grow, flip, tell, add, free, resize, many, named, reverse, answer, structured, wait, refuse]


@pytest.fixture
def handoff(make_site: Any, caller: Any) -> HandoffCaller:
    return HandoffCaller(make_site(nodes=NODES).front._handoffs)


async def test_a_call_has_the_nodes_own_types(handoff: HandoffCaller) -> None:
    assert await handoff(add, 1) == 3
    assert await handoff(add, 1, b=5) == 6
    assert await handoff(named, Struct("x")) == Struct("X")
    assert await handoff(resize, Model(size=3), by=2) == Model(size=5)
    moment = Model(size=1, when="2026-08-01T12:00:00Z")
    assert await handoff(resize, moment) == Model(size=2, when=moment.when)
    assert await handoff(many, Data([moment])) == [moment]
    assert await handoff(reverse, b"abc") == b"cba"
    assert await handoff(reverse, memoryview(b"abc"), times=2) == b"abc"
    assert await handoff(refuse.__name__ and add, a=4) == 6


async def test_a_node_may_be_called_by_its_name(handoff: HandoffCaller) -> None:
    assert await handoff("shop.add", a=1, timeout=3) == 3
    assert await handoff("shop.resize", model={"size": 1}) == {"size": 2, "when": None}
    assert await handoff("shop.reverse", data=b"ab") == b"ba"
    assert await handoff("shop.answer", text="x") == b"x"
    assert await handoff("shop.structured") == {"a": 1}


async def test_each_item_for_a_batched_node_is_a_call_of_its_own(handoff: HandoffCaller, caller: Any) -> None:
    assert await handoff(grow, [Model(size=1), Model(size=5)], timeout=3) == [Model(size=2), Model(size=6)]
    assert [(call.node, call.timeout, msgspec.msgpack.decode(call.body)["size"]) for call in caller.calls] == [
        ("shop.grow", 3, 1),
        ("shop.grow", 3, 5),
    ]
    assert await handoff(flip, images=[b"abc", memoryview(b"de")]) == [b"cba", b"ed"]
    assert await handoff(tell, ["a"]) == [Response(b"a", 201, "text/plain")]
    assert await handoff(flip, []) == []
    assert await handoff("shop.grow", models=[{"size": 1}]) == [{"size": 2, "when": None}]


async def test_the_first_error_of_several_calls_ends_the_others(handoff: HandoffCaller, caller: Any) -> None:
    with pytest.raises(InvalidRequest, match="too small"):
        await handoff(grow, [Model(size=1), Model(size=-1), Model(size=2), Model(size=-2)])
    assert all(call.future.done() for call in caller.calls)

    def refuse_the_third(call: Any) -> None:
        if len(caller.calls) == 3:
            raise Busy("every place is taken")

    caller.calls.clear()
    caller.does = refuse_the_third
    with pytest.raises(Busy):
        await handoff(flip, [b"a", b"b", b"c", b"d"])
    assert [call.cancelled for call in caller.calls] == [True, True, False]


async def test_who_stops_waiting_for_several_calls_cancels_them_all(handoff: HandoffCaller, caller: Any) -> None:
    caller.does = caller.hold
    task = asyncio.create_task(handoff(flip, [b"a", b"b"]))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [call.cancelled for call in caller.calls] == [True, True]


async def test_a_response_comes_back_as_one(handoff: HandoffCaller) -> None:
    assert await handoff(answer, "x") == Response(b"x", 201, "text/plain", {"X-A": "b"})
    told = await handoff(structured)
    assert (told.body, told.status) == ({"a": 1}, 202)


async def test_the_time_limit_is_the_calls_the_callers_or_the_services(handoff: HandoffCaller, caller: Any) -> None:
    await handoff(add, 1)
    await handoff(add, 1, timeout=3)
    await handoff.within(4)(add, a=1)
    await handoff.within(4)(add, 1, timeout=3)
    assert [call.timeout for call in caller.calls] == [30.0, 3, 4, 3]


async def test_a_call_has_the_class_it_is_given(handoff: HandoffCaller, caller: Any) -> None:
    await handoff(add, 1)
    await handoff.within(priority="high")(add, 1)
    await handoff.within(3, priority="low").within(2)(add, 1)
    assert [(call.priority, call.timeout) for call in caller.calls] == [(NORMAL, 30.0), (HIGH, 30.0), (LOW, 2)]
    with pytest.raises(Misuse, match="one of high, normal, low"):
        handoff.within(priority="urgent")


async def test_a_client_may_give_the_calls_of_a_route_less_time(make_site: Any, caller: Any) -> None:
    site = make_site(nodes=NODES, app=routes())
    for said in ("0.5", "100"):
        await site.ask("POST", "/resize", json={"size": 3}, headers={"x-request-timeout": said})
    assert caller.calls[0].timeout == 0.5 < (whole := caller.calls[1].timeout)
    assert [call.meta.beyond_ms for call in caller.calls] == [(whole - 0.5) * 1000, 0]
    answer = await site.ask("POST", "/resize", json={"size": 3}, headers={"x-request-timeout": "-1"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert len(caller.calls) == 2


async def test_a_timeout_of_the_nodes_own_is_the_nodes(handoff: HandoffCaller, caller: Any) -> None:
    assert await handoff.within(4)(wait, timeout=0.5) == 0.5
    assert await handoff.within(4)(wait, 0.25) == 0.25
    assert [call.timeout for call in caller.calls] == [4, 4]


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
async def test_a_time_limit_is_one(handoff: HandoffCaller, caller: Any, limit: float) -> None:
    with pytest.raises(Misuse, match="time limit"):
        await handoff(add, 1, timeout=limit)
    with pytest.raises(Misuse, match="time limit"):
        await handoff.within(limit)(add, 1)
    assert not caller.calls


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((len,), {}, "no node"),
        (("shop.nothing",), {}, "no node"),
        ((functools.partial(add, 1),), {}, "no node"),
        (([],), {}, "no node"),
        ((add,), {}, "missing"),
        ((add, 1, 2, 3), {}, "too many"),
        ((add, 1), {"c": 3}, "unexpected"),
        (("shop.add", 1), {}, "by its name"),
        (("shop.add",), {"a": 1, "z": 3}, "no parameter z"),
        ((reverse, "text"), {}, "takes bytes"),
        ((flip, ["text"]), {}, "takes bytes"),
        ((flip, b"abc"), {}, "takes a list, not bytes"),
        (("shop.flip",), {}, "takes a list, not NoneType"),
        ((tell, [object()]), {}, "cannot be sent"),
        ((add, object()), {}, "cannot be sent"),
        ((add, 2**70), {}, "cannot be sent"),
    ],
)
async def test_a_call_that_cannot_be_is_the_programs_fault(
    handoff: Any, caller: Any, args: Any, kwargs: Any, said: Any
) -> None:
    with pytest.raises(Misuse, match=said):
        await handoff(*args, **kwargs)
    assert not caller.calls


async def test_values_that_do_not_fit_are_refused_by_the_node(handoff: HandoffCaller) -> None:
    with pytest.raises(InvalidRequest, match=r"\$\.a"):
        await handoff(add, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\x00\x0f\xff\xf0" + b"\x80" * 0xFFFF0,
        b"\x91" * 100_000,
        b"\x91" * 33 + b"\x01",
        b"\x82\xa4name\xa1a\xa4name\xa1b",
        b"\x82\xa4name\xa1a\xa1x\xd4\x05\x00",
        b"\x82\xa4name\xa1a\x90\x01",
    ],
    ids=["many", "very deep", "deep", "twice", "extension", "key"],
)
async def test_a_result_beyond_the_limits_is_a_fault_of_the_worker(
    handoff: HandoffCaller, caller: Any, body: bytes
) -> None:
    caller.does = lambda call: call.reply(body, encoding=3)
    for function, argument in ((named, Struct("x")), (resize, Model(size=1)), (free, 1)):
        with pytest.raises(BadResult):
            await handoff(function, argument)


async def test_arguments_beyond_the_limits_never_reach_the_node(handoff: HandoffCaller) -> None:
    for value, words in (([0] * 70_000, "more than 65536 elements"), ({1.5: 2}, "a text or a whole number")):
        with pytest.raises(InvalidRequest, match=words):
            await handoff(free, value)
    assert await handoff(free, {1: [float("inf")]}) == {1: [float("inf")]}


async def test_a_result_that_is_not_what_is_declared_is_a_fault(handoff: HandoffCaller, caller: Any) -> None:
    for body in (msgspec.msgpack.encode("x"), b"", b"\xc1", msgspec.msgpack.encode({"size": "x"})):
        caller.does = lambda call, body=body: call.reply(body, encoding=3)
        with pytest.raises(BadResult):
            await handoff(add, 1)
        with pytest.raises(BadResult):
            await handoff(resize, Model(size=1))
    caller.does = lambda call: call.reply(b"x", encoding=1, status=201, media_type="text/plain\r\nx: y")
    with pytest.raises(BadResult):
        await handoff(answer, "x")


def test_a_function_is_found_under_any_name(make_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def _impl(a: int) -> int:
        return a

    module = ModuleType("shop_aliases")
    module.alias = _impl  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_aliases", module)
    from exec_worker.signature import contract_of

    class Caller:
        me = "web-0#1"

    contract = contract_of(_impl, name="shop.alias", imported_from="shop_aliases:alias")
    assert Handoffs(Caller(), [contract], 1.0).target(_impl).name == "shop.alias"  # type: ignore[arg-type]


def routes() -> FastAPI:
    app = FastAPI()

    @app.post("/resize")
    async def resized(model: Model, handoff: Handoff) -> Model:
        return await handoff(resize, model, timeout=5)

    @app.get("/refuse")
    async def refused(handoff: Handoff) -> None:
        await handoff(refuse)

    @app.get("/wrong")
    async def wrong(handoff: Handoff) -> None:
        await handoff(len, "canary")

    return app


async def test_a_route_hands_off_with_its_requests_identity(make_site: Any, caller: Any) -> None:
    site = make_site(nodes=NODES, app=routes())
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await site.ask("POST", "/resize", json={"size": 3}, headers={"x-request-id": "r-1", "traceparent": trace})
    assert answer.json() == {"size": 4, "when": None}
    meta = caller.calls[0].meta
    assert (meta.request_id, meta.trace, meta.reply_to) == ("r-1", trace, "web-0#1")


@pytest.mark.parametrize(
    ("path", "status", "code", "event"),
    [("/refuse", 422, "invalid_request", "delivered"), ("/wrong", 500, "misuse", "failed")],
)
async def test_errors_are_answered_like_those_of_declared_endpoints(
    make_site: Any, path: Any, status: Any, code: Any, event: Any
) -> None:
    site = make_site(nodes=NODES, app=routes())
    answer = await site.ask("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "canary" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert site.events() == [event]


async def test_errors_of_the_way_are_too(make_site: Any, caller: Any) -> None:
    site = make_site(nodes=NODES, app=routes())
    caller.does = lambda call: call.future.set_exception(Busy("full"))
    answer = await site.ask("POST", "/resize", json={"size": 3})
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "1", "busy")
    caller.does = lambda call: call.future.set_exception(LinkLost("cpu-0#7 was gone"))
    answer = await site.ask("POST", "/resize", json={"size": 3})
    assert (answer.status_code, "cpu-0" in answer.text) == (502, False)


async def test_an_app_that_is_mounted_may_hand_off_too(make_site: Any) -> None:
    app = FastAPI()
    app.mount("/sub", routes())
    site = make_site(nodes=NODES, app=app)
    assert (await site.ask("POST", "/sub/resize", json={"size": 3})).json()["size"] == 4


def test_websockets_may_hand_off_too(make_site: Any) -> None:
    app = FastAPI()

    @app.websocket("/ws")
    async def chat(websocket: WebSocket, handoff: Handoff) -> None:
        await websocket.accept()
        await websocket.send_json(await handoff(add, 1))
        await websocket.close()

    with TestClient(make_site(nodes=NODES, app=app).front) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_json() == 3


@pytest.mark.parametrize(("error", "code"), [(Busy("full"), 1013), (LinkLost("cpu-0#7 was gone"), 1011)])
def test_errors_of_websockets_close_them(make_site: Any, caller: Any, error: Exception, code: int) -> None:
    app = FastAPI()

    @app.websocket("/ws")
    async def chat(websocket: WebSocket, handoff: Handoff) -> None:
        await websocket.accept()
        await handoff(add, 1)

    caller.does = lambda call: call.future.set_exception(error)
    site = make_site(nodes=NODES, app=app)
    with (
        TestClient(site.front) as client,
        client.websocket_connect("/ws") as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_json()
    assert (closed.value.code, "cpu-0" in closed.value.reason) == (code, False)
    assert site.events()[0] == ("rejected" if code == 1013 else "failed")


def waiting(tasks: list[Any]) -> FastAPI:
    app = FastAPI()

    @app.post("/waits")
    async def waits(handoff: Handoff) -> None:
        try:
            await handoff(add, 1)
        except Cancelled:
            tasks.append("cancelled")
            raise

    @app.get("/later")
    async def later(handoff: Handoff, background: BackgroundTasks) -> str:
        background.add_task(handoff, add, 1)
        return "soon"

    @app.get("/stream")
    async def stream(handoff: Handoff) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            tasks.append("streaming")
            yield str(await handoff(add, 1))

        return StreamingResponse(pieces())

    return app


@pytest.mark.parametrize("body", [b"", b"unread"])
async def test_a_client_that_leaves_cancels_what_its_route_waits_for(make_site: Any, caller: Any, body: bytes) -> None:
    told: list[str] = []
    site = make_site(nodes=NODES, app=waiting(told))
    caller.does = caller.hold
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    await site.raw(messages, method="POST", path="/waits")
    assert caller.calls[0].cancelled
    assert told == ["cancelled"]
    assert site.events() == ["abandoned"]


async def test_a_body_that_the_watcher_met_is_still_the_routes(make_site: Any, caller: Any) -> None:
    from starlette.requests import Request

    app = FastAPI()

    @app.post("/late")
    async def late(request: Request, handoff: Handoff) -> int:
        first = asyncio.ensure_future(handoff(add, 1))
        while not caller.calls:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        size = len(await request.body())
        caller.calls[0].reply(msgspec.msgpack.encode(3), encoding=3)
        return size + await first

    site = make_site(nodes=NODES, app=app)
    caller.does = caller.hold
    pieces = [{"type": "http.request", "body": b"xx", "more_body": n < 2} for n in range(3)]
    sent = await site.raw(pieces, method="POST", path="/late")
    assert sent[1]["body"] == b"9"
    assert not caller.calls[0].cancelled


async def test_what_goes_on_after_the_answer_is_not_cancelled_by_it(make_site: Any, caller: Any) -> None:
    site = make_site(nodes=NODES, app=waiting([]))

    messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
    sent = await site.raw(messages, path="/later")
    assert sent[0]["status"] == 200
    assert caller.calls[0].slow is None  # there is nobody to watch
    assert site.events() == ["delivered"]


async def test_a_handoff_in_a_stream_is_cancelled_with_it(make_site: Any, caller: Any) -> None:
    told: list[str] = []
    site = make_site(nodes=NODES, app=waiting(told))
    caller.does = caller.hold
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    gone = asyncio.Event()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            gone.set()

    scope = {
        "type": "http", "method": "GET", "path": "/stream", "query_string": b"", "headers": [],
        "asgi": {"spec_version": "2.3"}, "http_version": "1.1",
    }  # fmt: skip
    await site(scope, receive, send)
    assert all(call.cancelled for call in caller.calls)


def test_outside_of_shunter_it_says_so() -> None:
    with TestClient(routes()) as client, pytest.raises(Misuse, match="override `get_handoff`"):
        client.post("/resize", json={"size": 3})


async def test_in_tests_of_an_app_the_dependency_is_overridden() -> None:
    app = routes()

    async def at_once(node: Any, /, *args: Any, timeout: float = 0, **kwargs: Any) -> Any:  # noqa: ASYNC109 - as the real one
        return node(*args, **kwargs)

    app.dependency_overrides[get_handoff] = lambda: at_once
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://x") as client:
        assert (await client.post("/resize", json={"size": 3})).json()["size"] == 4
