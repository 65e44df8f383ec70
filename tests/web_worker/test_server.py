import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from ipc.messages.settings import WebSettings
from web_worker import protocol
from web_worker.server import Server


def store(data: bytes) -> bytes:
    return data


def large(size: int) -> bytes:
    return bytes(size)


class Serving(Server):
    port = 0


@asynccontextmanager
async def serving(app: Any, drain_timeout: float = 0.5) -> AsyncIterator[Serving]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = asyncio.Event()
        server = Serving(app, WebSettings((), (), {}, {}, keep_alive=30.0, drain_timeout=drain_timeout), started.set)
        server.port = listener.getsockname()[1]
        task = asyncio.create_task(server.serve([listener]))
        await started.wait()
        try:
            yield server
        finally:
            server.drain()
            await task


async def accepted(server: Server, clients: int) -> None:
    while len(server.server_state.connections) < clients:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:-2])

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        size = int(headers.get("content-length", 0)) if body else 0
        return status, headers, await self._reader.readexactly(size)

    async def take(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def ended(self) -> bool:
        try:
            return await self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def leave(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def test_large_answers_go_out_as_views(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/large", large), nodes=[large])
    body = bytes(range(256)) * 2000
    caller.does = lambda call: call.reply(memoryview(body), encoding=1)
    async with serving(site.front) as server, connected(server.port) as client:
        for _ in range(2):
            await client.say(b"GET /large?size=1 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.answer())[2] == body


async def test_a_head_request_has_no_body(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/large", large, "GET", "HEAD"), nodes=[large])
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(b"HEAD /large?size=9 HTTP/1.1\r\nhost: x\r\n\r\nGET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        status, headers, _ = await client.answer(body=False)
        assert (status, headers["content-length"]) == (200, "9")
        assert json.loads((await client.answer())[2]) == {"status": "ready"}


async def test_who_asks_first_is_told_to_send_or_not_to(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store], max_body=1000)
    async with serving(site.front) as server:
        ask = b"POST /store HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
        async with connected(server.port) as client:
            await client.say(ask % 3)
            assert (await client.head())[0] == 100
            await client.say(b"abc")
            assert (await client.answer())[::2] == (200, b"abc")
        async with connected(server.port) as client:
            await client.say(ask % 1001)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (413, "close")
            assert await client.ended()


async def test_a_chunked_body_is_refused_before_its_end(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store], max_body=1000)
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await client.say(b"400\r\n" + bytes(1024) + b"\r\n")  # and no end
        status, headers, body = await client.answer()
        assert (status, headers["connection"], json.loads(body)["code"]) == (413, "close", "too_large")
        assert await client.ended()


async def test_a_client_that_hangs_up_cancels_its_call(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    asked, left = asyncio.Event(), asyncio.Event()
    caller.does = lambda call: (caller.hold(call), call.future.add_done_callback(lambda _: left.set()), asked.set())
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        await asked.wait()
        client.leave()
        await left.wait()
    assert caller.calls[0].cancelled
    assert site.events() == ["abandoned"]


async def test_a_client_that_hangs_up_while_it_sends_has_asked_nothing(
    make_site: Any, declare: Any, caller: Any
) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
        client.leave()
        while not site.lines():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
    assert not caller.calls
    assert site.events() == ["abandoned"]


TWICE = b"POST /store HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        TWICE % b"content-length: 5\r\ntransfer-encoding: chunked",
        TWICE % b"transfer-encoding: chunked\r\ncontent-length: 5",
        TWICE % b"content-length: 5\r\ncontent-length: 6",
        TWICE % b"content-length: +5",
        TWICE % b"content-length: 5, 5",
        TWICE % b"content-length: 99999999999999999999999",
        TWICE % b"transfer-encoding : chunked",
        TWICE % b"transfer-encoding: xchunked",
        TWICE % b"transfer-encoding: chunked, identity",
        TWICE % b" transfer-encoding: chunked",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: b\x00c\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01 no http\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_two_parsers_might_read_in_two_ways_is_refused(
    make_site: Any, declare: Any, request_bytes: bytes
) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(request_bytes)
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (400, "close")
        problem = json.loads(body)
        assert (problem["code"], problem["request_id"]) == ("bad_request", headers["x-request-id"])
        assert await client.ended()
    assert "/smuggled" not in str(site.lines())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * (protocol.MAX_URL + 1)),
        b"GET / HTTP/1.1\r\n%b\r\n" % b"".join(b"x-%d: y\r\n" % n for n in range(protocol.MAX_HEADERS + 1)),
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: %b\r\n\r\n" % (b"a" * protocol.MAX_HEAD),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * protocol.MAX_HEAD)[: protocol.MAX_HEAD + 1],  # and no end
        (b"GET /" + b"a" * protocol.MAX_HEAD)[: protocol.MAX_HEAD + 1],
    ],
    ids=["url", "many", "long", "endless", "endless url"],
)
async def test_heads_are_bounded(make_site: Any, head: bytes) -> None:
    site = make_site()
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(head)
        status, headers, body = await client.answer()
        assert (status, headers["connection"], json.loads(body)["code"]) == (431, "close", "head_too_large")
        assert await client.ended()
    assert site.lines() == []


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    body = bytes(3 * protocol.MAX_HEAD)
    async with serving(site.front) as server, connected(server.port) as client:
        for _ in range(2):
            await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert (await client.answer())[::2] == (200, body)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nhost:"])
async def test_a_client_that_does_not_finish_its_head_is_let_go(
    make_site: Any, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIME", 0.01)
    async with serving(make_site().front) as server, connected(server.port) as client:
        await client.say(begun)
        assert await client.ended()


async def test_a_head_in_pieces_is_waited_for_no_longer_than_it_takes(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/large", large), nodes=[large])
    async with serving(site.front) as server, connected(server.port) as client:
        await client.say(b"GET /large?size=1 HT")
        connections = server.server_state.connections
        while not any(connection._head_timer for connection in connections):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
        await client.say(b"TP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.answer())[0] == 200
        assert [connection._head_timer for connection in connections] == [None]


async def test_an_app_that_cannot_start_is_not_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SystemExit):
        await Server(app, WebSettings((), (), {}, {}), lambda: None).serve([listener])


async def test_a_connection_is_used_again_after_an_error(make_site: Any, declare: Any) -> None:
    site = make_site(declare("/large", large), nodes=[large])
    async with serving(site.front) as server, connected(server.port) as client:
        for path, status in ((b"/nowhere", 404), (b"/large", 422), (b"/large?size=x", 422), (b"/large?size=1", 200)):
            await client.say(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            assert (await client.answer())[0] == status


@pytest.mark.parametrize("end", ["admit", "drain"])
async def test_on_trial_it_is_ready_and_accepts_nobody_before_that_is_over(make_site: Any, end: str) -> None:
    started = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = WebSettings((), (), {}, {}, keep_alive=30.0, drain_timeout=1.0)
        server = Server(make_site().front, settings, started.set, on_trial=True)
        task = asyncio.create_task(server.serve([listener]))
        await started.wait()
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.1)
            assert not server.server_state.connections
            getattr(server, end)()
            if end == "admit":
                answer = await asyncio.to_thread(client.recv, 12)
                assert answer == b"HTTP/1.1 200"
                server.drain()
            await task
            assert server.server_state.total_requests == (end == "admit")


async def test_draining_lets_what_is_running_finish(make_site: Any) -> None:
    app = FastAPI()
    asked, go = asyncio.Event(), asyncio.Event()

    @app.get("/wait")
    async def wait() -> str:
        asked.set()
        await go.wait()
        return "done"

    async with serving(make_site(app=app).front, drain_timeout=30.0) as server, connected(server.port) as client:
        await client.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await asked.wait()
        server.drain()
        go.set()
        status, _, body = await client.answer()
        assert (status, body) == (200, b'"done"')


async def test_a_request_that_meets_a_drain_on_its_way_is_answered(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "QUIET", 60.0)
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    request = b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"
    async with (
        serving(site.front, drain_timeout=30.0) as server,
        connected(server.port) as regular,
        connected(server.port) as newcomer,
    ):
        await regular.say(request)
        assert "connection" not in (await regular.answer())[1]
        await accepted(server, 2)
        server.drain()
        await asyncio.sleep(0.3)
        for client in (regular, newcomer):
            await client.say(request)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.ended()


async def test_a_drain_does_not_wait_for_a_client_that_is_quiet(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "QUIET", 0.1)
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    async with serving(site.front, drain_timeout=60.0) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        assert (await client.answer())[0] == 200
        server.drain()
        assert await client.ended()


async def test_a_worker_that_is_replaced_waits_for_who_is_quiet_as_long_as_it_is_told(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "QUIET", 0.0)
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    request = b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"
    async with serving(site.front, drain_timeout=60.0) as server, connected(server.port) as client:
        await client.say(request)
        assert (await client.answer())[0] == 200
        server.drain(60.0)
        await asyncio.sleep(0.3)  # it has looked at its clients by then
        await client.say(request)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.ended()


async def test_nobody_hangs_up_on_what_was_sent_but_not_yet_read(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "QUIET", 0.0)
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    async with serving(site.front, drain_timeout=60.0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            await accepted(server, 1)
            client.sendall(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            for connection in list(server.server_state.connections):
                connection.shutdown()  # in the same turn of the loop: it has seen nothing of the request
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 4096)
            assert answer.startswith(b"HTTP/1.1 200")


async def begun(server: Server) -> None:
    while not any(connection._head_timer for connection in server.server_state.connections):  # noqa: ASYNC110
        await asyncio.sleep(0.001)  # there is no event for it


async def test_a_drain_lets_a_head_that_has_begun_become_whole(
    make_site: Any, declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "QUIET", 0.0)
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    async with serving(site.front, drain_timeout=60.0) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost:")
        await begun(server)
        server.drain()
        await asyncio.sleep(0.3)  # it has looked at its clients by then
        await client.say(b" x\r\ncontent-length: 1\r\n\r\nx")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"x")
        assert await client.ended()


async def test_a_head_that_never_ends_holds_no_drain(make_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "QUIET", 0.0)
    monkeypatch.setattr(protocol, "HEAD_TIME", 0.3)
    async with serving(make_site().front, drain_timeout=3600.0) as server, connected(server.port) as client:
        await client.say(b"GET / HTTP/1.1\r\nhost:")
        await begun(server)
        server.drain()
        assert await client.ended()


async def test_what_the_app_does_not_finish_is_answered_too(make_site: Any) -> None:
    app = FastAPI()
    asked = asyncio.Event()

    @app.get("/wait")
    async def wait() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with serving(make_site(app=app).front, drain_timeout=0.05) as server, connected(server.port) as client:
        await client.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await asked.wait()
        server.drain()
        status, headers, body = await client.answer()
        assert (status, json.loads(body)["request_id"]) == (504, headers["x-request-id"])


async def test_pieces_of_a_stream_go_out_as_they_come(make_site: Any) -> None:
    app = FastAPI()
    go = asyncio.Event()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one\r\n\r\n"  # ends as a head does
            await go.wait()
            yield b"two"

        return StreamingResponse(pieces())

    async with serving(make_site(app=app).front) as server, connected(server.port) as client:
        for _ in range(2):
            go.clear()
            await client.say(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await client.head())[1]["transfer-encoding"] == "chunked"
            assert await client.take(12) == b"7\r\none\r\n\r\n\r\n"
            go.set()
            assert await client.take(13) == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_what_does_not_finish_is_ended_with_an_answer(make_site: Any, declare: Any, caller: Any) -> None:
    site = make_site(declare("/store", store, "POST"), nodes=[store])
    asked = asyncio.Event()
    caller.does = lambda call: (caller.hold(call), asked.set())
    async with serving(site.front, drain_timeout=0.05) as server, connected(server.port) as client:
        await client.say(b"POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        await asked.wait()
        server.drain()
        status, _, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (504, "outcome_unknown")
    assert caller.calls[0].cancelled
