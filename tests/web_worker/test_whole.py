"""Answers in one write are byte for byte those that uvicorn makes of two messages."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from ipc.wire.frame import LARGE
from web_worker import responses, whole
from web_worker.protocol import Joining

REQUESTS = {
    "keep-alive": b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "close": b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    "expect": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nhi",
}


async def _exchange(request: bytes, body: bytes, status: int, *, one_write: bool) -> tuple[bytes, list[str]]:
    used: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        used.append("whole" if whole.cycle_of(send) is not None else "two")
        if one_write:
            await responses.answer(send, status, b"text/plain", body, "id-1")
        else:

            async def plain(message: Any) -> None:
                await send(message)

            await responses.answer(plain, status, b"text/plain", body, "id-1")

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", http="httptools", date_header=False)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(request)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        server.should_exit = True
        await task
    return answer, used


@pytest.mark.parametrize("status", [200, 404, 204])
@pytest.mark.parametrize("body", [b"", b"hello", bytes(200_000)], ids=["empty", "small", "large"])
@pytest.mark.parametrize("name", REQUESTS)
def test_one_write_is_what_two_are(name: str, body: bytes, status: int) -> None:
    if status in responses.NO_BODY:
        body = b""
    one, _ = asyncio.run(_exchange(REQUESTS[name], body, status, one_write=True))
    two, _ = asyncio.run(_exchange(REQUESTS[name], body, status, one_write=False))
    assert one == two
    assert one.count(b"id-1") == (2 if name == "keep-alive" else 1)


def test_this_uvicorn_is_known() -> None:
    assert whole.fits()
    _, used = asyncio.run(_exchange(REQUESTS["keep-alive"], b"x", 200, one_write=True))
    assert used == ["whole", "whole"]


def test_what_is_no_uvicorn_request_takes_the_ordinary_way() -> None:
    async def send(_message: Any) -> None: ...

    assert whole.cycle_of(send) is None


class Wire:
    """A transport that notes what is written together."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []

    def write(self, data: Any) -> None:
        self.written.append((data,))

    def writelines(self, parts: Any) -> None:
        self.written.append(tuple(parts))

    def is_closing(self) -> bool:
        return False


def test_a_large_body_goes_with_its_head_and_is_not_copied() -> None:
    loop, head, body = asyncio.new_event_loop(), b"HTTP/1.1 200 OK\r\n\r\n", memoryview(bytes(LARGE))
    for data in (body, b"small"):
        wire = Wire()
        joining = Joining(wire, loop)  # type: ignore[arg-type]
        joining.write(head)
        joining.write(data)  # type: ignore[arg-type]
        assert wire.written == ([(head, body)] if data is body else [(head + b"small",)])
        assert data is not body or wire.written[0][1] is body
    loop.close()
