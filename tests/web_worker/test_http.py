import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest

from exec_worker import InvalidRequest, Response
from ipc.errors import Busy, CallFailed, CallTimeout, LinkLost, NodeError, NoWorker
from ipc.priority import HIGH, NORMAL

CANARY = "hunter2-canary"


class Order(msgspec.Struct):
    item: str
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


def buy(order: Order) -> Order:
    """Buy something."""
    return Order(order.item, order.count + 1)


def perhaps(order: Order | None = None) -> str:
    return "nothing" if order is None else order.item


def shrink(image: bytes, width: int = 256) -> Annotated[bytes, "image/webp"]:
    return image[:width]


def find(name: str, tags: list[str] | None = None, page: int = 1) -> dict[str, Any]:
    return {"name": name, "tags": tags, "page": page}


def clear() -> None:
    return None


def custom(status: int) -> Response:
    return Response(b"" if status == 204 else {"made": True}, status, headers={"X-Total": "3", "Set-Cookie": "a=b"})


def fussy() -> None:
    raise InvalidRequest("not on a Sunday")


JSON = {"content-type": "application/json"}
SHAPE = {"detail", "status_code", "code", "request_id"}


BEYOND = [
    (b"[" + b"[]," * 349_000 + b"0]", "The JSON has more than 65536 elements"),
    (b"[" * 1_000_000, "The JSON has more than 65536 elements"),
    (b"[" * 60_000, "nested too deep"),
    (b"[" * 65 + b"]" * 65, "The JSON is nested deeper than 64 levels"),
    (b'{"item": "tea", "item": "coffee"}', "The same key stands twice"),
    (b'{"item": "tea", "more": 1e999}', "out of range"),
    (b'{"item": NaN}', "malformed"),
    (b'{"item": "\xff"}', "utf-8"),
]


@pytest.mark.parametrize(("body", "words"), BEYOND, ids=range(len(BEYOND)))
async def test_a_body_beyond_the_limits_is_refused_in_the_one_shape(
    make_site: Any, declare: Any, body: bytes, words: str
) -> None:
    ran: list[Any] = []

    def note(value: Any) -> Any:
        ran.append(value)

    def narrow(order: Order) -> Any:
        ran.append(order)

    site = make_site(declare("/note", note, "POST"), declare("/narrow", narrow, "POST"), nodes=[note, narrow])
    for path in ("/note", "/narrow"):
        answer = await site.ask("POST", path, content=body, headers=JSON)
        problem = answer.json()
        assert (answer.status_code, problem["code"], set(problem)) == (422, "invalid_request", SHAPE)
        assert words in problem["detail"] or path == "/narrow"
    assert ran == []


async def test_a_body_of_too_many_elements_is_not_even_handed_off(make_site: Any, declare: Any) -> None:
    def note(value: Any) -> None:
        pass

    site = make_site(declare("/note", note, "POST"), nodes=[note])
    answer = await site.ask("POST", "/note", content=b"[" + b"{}," * 70_000 + b"0]", headers=JSON)
    assert (answer.status_code, answer.json()["detail"]) == (422, "The JSON has more than 65536 elements")
    assert site.caller.calls == []


async def test_a_body_is_checked_and_forwarded_as_it_came(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/buy", buy, "POST"), nodes=[buy])
    body = b'{ "item":"tea",  "count":2 }'
    answer = await site.ask("POST", "/buy", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"item": "tea", "count": 3})
    assert answer.headers["content-type"] == "application/json"
    assert site.caller.calls[0].body == body
    assert site.caller.calls[0].timeout == 5.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "truncated"),
        (b'{"item": 3}', "$.item"),
        (b'{"item": "x", "count": 0}', "$.count"),
        (b'{"item": "\xff"}', "UTF-8"),
        (b"", "has no body"),
        (b"[" * 100_000, ""),
    ],
)
async def test_what_does_not_fit_is_told_and_never_handed_off(
    make_site: Any, declare: Any, body: bytes, said: str
) -> None:
    site = make_site(declare("/buy", buy, "POST"), nodes=[buy])
    answer = await site.ask("POST", "/buy", content=body, headers=JSON)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem.keys() == {"detail", "status_code", "code", "request_id"}
    assert (problem["status_code"], problem["code"]) == (422, "invalid_request")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert said.lower() in problem["detail"].lower()
    assert not site.caller.calls


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", None])
@pytest.mark.parametrize("chunked", [False, True])
async def test_json_comes_as_json(make_site: Any, declare: Any, content_type: str | None, chunked: bool) -> None:
    """Without it a page of another site could post to a service on the visitor's own machine."""
    site = make_site(declare("/buy", buy, "POST"), nodes=[buy])

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"item":'
        yield b'"tea"}'

    content: Any = pieces() if chunked else b'{"item":"tea"}'
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await site.ask("POST", "/buy", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["connection"] == "close"
    assert not site.caller.calls


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"]
)
async def test_every_kind_of_json_is_json(make_site: Any, declare: Any, content_type: str) -> None:
    site = make_site(declare("/buy", buy, "POST"), nodes=[buy])
    answer = await site.ask("POST", "/buy", content=b'{"item":"tea"}', headers={"content-type": content_type})
    assert answer.status_code == 200


async def test_a_body_that_may_be_missing_may_be_missing(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/perhaps", perhaps, "POST"), nodes=[perhaps])
    assert (await site.ask("POST", "/perhaps")).json() == "nothing"
    assert (await site.ask("POST", "/perhaps", headers={"content-type": "text/plain"})).json() == "nothing"
    assert (await site.ask("POST", "/perhaps", json={"item": "tea"})).json() == "tea"


async def test_bytes_go_in_and_out_as_they_are(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/shrink", shrink, "POST"), nodes=[shrink])
    answer = await site.ask("POST", "/shrink?width=3", content=b"\x00\xff\x01\x02")
    assert (answer.content, answer.headers["content-type"]) == (b"\x00\xff\x01", "image/webp")
    assert (await site.ask("POST", "/shrink", content=b"")).content == b""  # no bytes are bytes, too


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(make_site: Any, declare: Any, chunked: bool) -> None:
    site = make_site(declare("/shrink", shrink, "POST"), nodes=[shrink], max_body=1000)
    read = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if chunked else [(b"content-length", b"100000")]
    scope = {"type": "http", "method": "POST", "path": "/shrink", "query_string": b"", "headers": headers}
    await site(scope, receive, send)
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert msgspec.json.decode(sent[1]["body"])["code"] == "too_large"
    assert len(read) == (3 if chunked else 0)
    assert not site.caller.calls


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b'{"item":"tea"}', "more_body": True}, {"type": "http.disconnect"}],
    ],
)
@pytest.mark.parametrize("node", [buy, shrink])
async def test_half_a_request_is_never_begun(
    make_site: Any, declare: Any, messages: list[dict[str, Any]], node: Any
) -> None:
    site = make_site(declare("/x", node, "POST"), nodes=[node])
    await site.raw(messages, method="POST", path="/x", headers=[(b"content-type", b"application/json")])
    assert not site.caller.calls
    assert site.events() == ["abandoned"]


async def test_a_client_that_leaves_while_it_waits_cancels_its_call(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/shrink", shrink, "POST"), nodes=[shrink])
    caller.does = caller.hold
    body = {"type": "http.request", "body": b"x", "more_body": False}
    await site.raw([body, {"type": "http.disconnect"}], method="POST", path="/shrink")
    assert caller.calls[0].cancelled
    assert site.events() == ["abandoned"]


async def test_nobody_watches_a_call_that_is_over(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])

    def slowly(call: Any) -> None:
        call.slow(call)
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(call.reply))

    caller.does = slowly
    before = asyncio.all_tasks()
    await site.raw([{"type": "http.request", "body": b"", "more_body": False}], path="/clear")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert not caller.calls[0].cancelled


async def test_a_server_that_gives_up_waiting_tells_the_client_and_cancels(
    make_site: Any, declare: Any, caller: Any
) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])
    caller.does = caller.hold
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/clear", "query_string": b"", "headers": []}
    task = asyncio.create_task(site(scope, receive, send))
    while not caller.calls:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caller.calls[0].cancelled
    assert sent[0]["status"] == 504


async def test_no_content_has_none(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/clear", clear, "DELETE", status=204), declare("/custom", custom), nodes=[clear, custom])
    for answer in (await site.ask("DELETE", "/clear"), await site.ask("GET", "/custom?status=204")):
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers
        assert "content-length" not in answer.headers


async def test_a_node_may_decide_its_own_answer(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/custom", custom), nodes=[custom])
    answer = await site.ask("GET", "/custom?status=201")
    assert (answer.status_code, answer.json()) == (201, {"made": True})
    assert (answer.headers["x-total"], answer.headers["set-cookie"]) == ("3", "a=b")


@pytest.mark.parametrize(
    "meta",
    [
        {"status": 99},
        {"status": 101},
        {"status": 600},
        {"status": -1},
        {"headers": (("x-a", f"b\r\nset-cookie: {CANARY}"),)},
        {"headers": (("x-a\r\nx-b", CANARY),)},
        {"headers": (("", CANARY),)},
        {"headers": (("x a", CANARY),)},
        {"headers": (("x-a", "\u20ac" + CANARY),)},
        {"headers": (("x-a", "\x00" + CANARY),)},
        {"media_type": f"text/html\r\nx-a: {CANARY}"},
        {"media_type": "text/\u20ac"},
    ],
)
async def test_a_hostile_worker_cannot_write_the_answers_head(
    make_site: Any, declare: Any, caller: Any, meta: dict[str, Any]
) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])
    caller.does = lambda call: call.reply(CANARY.encode(), **meta)
    answer = await site.ask("GET", "/clear")
    assert (answer.status_code, answer.json()["code"]) == (502, "bad_message")
    assert CANARY not in answer.text + str(answer.headers)
    assert site.lines()[0]["event"] == "failed"


async def test_headers_of_the_connection_are_not_a_workers_to_say(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])
    names = ["Content-Length", "CONTENT-TYPE", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding"]
    names += ["Upgrade", "Proxy-Authenticate", "Proxy-Connection", "X-Request-Id"]
    caller.does = lambda call: call.reply(b"1", headers=(*((name, "5") for name in names), ("X-Kept", "yes")))
    messages = await site.raw([], path="/clear")
    assert [name for name, _ in messages[0]["headers"]] == [
        b"content-type", b"content-length", b"x-request-id", b"x-kept",
    ]  # fmt: skip


async def test_large_bodies_go_out_as_views(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/shrink", shrink, "POST"), nodes=[shrink])
    large = bytes(range(256)) * 1024
    caller.does = lambda call: call.reply(memoryview(large), encoding=1)
    answer = await site.ask("POST", "/shrink", content=b"x")
    assert answer.content == large
    assert answer.headers["content-length"] == str(len(large))


@pytest.mark.parametrize(
    ("error", "status", "code", "event"),
    [
        (Busy(CANARY), 503, "busy", "rejected"),
        (NoWorker(CANARY), 503, "no_worker", "rejected"),
        (CallTimeout(CANARY), 504, "timeout", "failed"),
        (LinkLost(CANARY), 502, "link_lost", "failed"),
        (NodeError(CANARY), 500, "node_error", "failed"),
        (CallFailed(CANARY), 502, "call_failed", "failed"),
    ],
)
async def test_errors_say_what_the_client_may_do(
    make_site: Any, declare: Any, caller: Any, error: Any, status: Any, code: Any, event: Any
) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])
    caller.does = lambda call: call.future.set_exception(error)
    answer = await site.ask("GET", "/clear")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert CANARY not in answer.text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    line = site.lines()[0]
    assert (line["event"], line["status"], line["code"], line["node"]) == (event, status, code, "shop.clear")


async def test_what_a_node_says_of_the_request_is_told(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/fussy", fussy), nodes=[fussy])
    answer = await site.ask("GET", "/fussy")
    assert (answer.status_code, answer.json()["detail"]) == (422, "not on a Sunday")
    assert [(line["event"], line["status"]) for line in site.lines()] == [("delivered", 422)]


async def test_a_fault_of_ours_is_answered_too(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear])

    def breaks(_call: Any) -> None:
        raise ZeroDivisionError(CANARY)

    caller.does = breaks
    answer = await site.ask("GET", "/clear")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert CANARY not in answer.text
    line = site.lines()[0]
    assert (line["event"], line["level"]) == ("failed", "error")
    assert "ZeroDivisionError" in line["traceback"]


async def test_a_refusal_that_comes_by_the_thousand_is_summed_up(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/clear", clear), nodes=[clear], requests=False)
    caller.does = lambda call: call.future.set_exception(Busy("full"))
    for _ in range(50):
        assert (await site.ask("GET", "/clear")).status_code == 503
    assert site.events()[0] == "refusing"
    assert len(site.lines()) < 50


async def test_every_boundary_is_told_to_who_looks_for_a_fault(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/buy", buy, "POST"), nodes=[buy], level="debug", requests=False)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = JSON | {"authorization": CANARY, "x-request-id": "r-1", "traceparent": trace, "cookie": CANARY}
    await site.ask("POST", f"/buy?token={CANARY}", content=b'{"item":"%s"}' % CANARY.encode(), headers=headers)
    await site.ask("POST", f"/buy?token={CANARY}", content=CANARY.encode(), headers=headers)
    assert site.events() == ["accepted", "handed_off", "delivered", "accepted", "rejected"]
    for line in site.lines():
        assert (line["method"], line["path"], line["node"]) == ("POST", "/buy", "shop.buy")
        assert (line["request_id"], line["trace"]) == ("r-1", trace)
    assert CANARY not in str(site.lines())


async def test_answered_requests_are_quiet_unless_asked_for(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/find/{name}", find), nodes=[find], requests=False)
    assert (await site.ask("GET", "/find/tea")).status_code == 200
    assert (await site.ask("GET", "/find/tea?page=x")).status_code == 422
    assert site.lines() == []


async def test_head_is_declared_or_not_taken(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/find/{name}", find), declare("/clear", clear, "GET", "HEAD"), nodes=[find, clear])
    assert (await site.ask("HEAD", "/find/tea")).status_code == 405
    assert (await site.ask("HEAD", "/clear")).status_code == 200


async def test_a_client_may_give_it_less_time_and_never_more(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/find/{name}", find, timeout=5.0), nodes=[find])
    for said in ("2.5", "60"):
        assert (await site.ask("GET", "/find/x", headers={"X-Request-Timeout": said})).status_code == 200
    assert (await site.ask("GET", "/find/x")).status_code == 200
    assert [call.timeout for call in caller.calls] == [2.5, 5.0, 5.0]
    assert [call.meta.beyond_ms for call in caller.calls] == [2500, 0, 0], "its worker is ended no sooner"


@pytest.mark.parametrize("through_app", [False, True])
async def test_a_time_that_is_none_is_refused_and_nothing_is_done(
    make_site: Any, declare: Any, caller: Any, through_app: bool
) -> None:
    site = make_site(declare("/find/{name}", find, through_app=through_app), nodes=[find])
    answer = await site.ask("GET", "/find/x", headers={"X-Request-Timeout": "soon"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "x-request-timeout takes a number of seconds" in answer.json()["detail"]
    assert caller.calls == []


async def test_the_header_may_have_another_name(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/find/{name}", find), nodes=[find], timeout_header="Budget")
    headers = {"X-Request-Timeout": "soon", "BUDGET": "1"}
    assert (await site.ask("GET", "/find/x", headers=headers)).status_code == 200
    assert caller.calls[0].timeout == 1.0


async def test_an_endpoint_has_the_class_it_declares(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/a/{name}", find, priority="high"), declare("/b/{name}", find), nodes=[find])
    await site.ask("GET", "/a/x")
    await site.ask("GET", "/b/x")
    assert [call.priority for call in caller.calls] == [HIGH, NORMAL]


@pytest.mark.parametrize("through_app", [False, True])
async def test_more_calls_at_once_than_an_endpoint_may_have_are_refused_at_once(
    make_site: Any, declare: Any, caller: Any, through_app: bool
) -> None:
    site = make_site(
        declare("/few/{name}", find, max_concurrency=2, through_app=through_app),
        declare("/many/{name}", find),
        nodes=[find],
    )
    caller.does = caller.hold
    waiting = [asyncio.ensure_future(site.ask("GET", "/few/x")) for _ in range(2)]
    while len(caller.calls) < 2:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    refused = await site.ask("GET", "/few/x")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "busy", "1")
    other = asyncio.ensure_future(site.ask("GET", "/many/x"))
    while len(caller.calls) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    caller.calls[0].reply()
    caller.calls[1].future.set_exception(NodeError("oh"))
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200, 500}
    caller.does = caller.run
    assert (await site.ask("GET", "/few/x")).status_code == 200
    caller.calls[2].reply()
    assert (await other).status_code == 200


async def test_a_call_whose_client_has_left_takes_its_place_until_its_worker_gives_it_up(
    make_site: Any, declare: Any, caller: Any
) -> None:
    site = make_site(declare("/few/{name}", find, max_concurrency=1), nodes=[find])

    def run_on(call: Any) -> None:
        call.runs_on = True
        call.future.set_exception(CallTimeout("no answer in time"))

    caller.does = run_on
    assert (await site.ask("GET", "/few/x")).status_code == 504
    await asyncio.sleep(0)
    assert (await site.ask("GET", "/few/x")).json()["code"] == "busy"
    (gone,) = caller.running_on
    gone()
    caller.does = caller.run
    assert (await site.ask("GET", "/few/x")).status_code == 200


async def test_a_call_that_is_refused_takes_no_place(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/few/{name}", find, max_concurrency=1), nodes=[find])

    def refuse(_call: Any) -> None:
        raise Busy("full", retry_after=4.2)

    caller.does = refuse
    for _ in range(3):
        assert (await site.ask("GET", "/few/x")).headers["retry-after"] == "5"
    caller.does = caller.run
    assert (await site.ask("GET", "/few/x")).status_code == 200
