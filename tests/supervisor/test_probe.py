"""Questions to programs: what counts as ready, and that no answer makes them longer or larger than their bounds."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from ipc.messages.settings import CommandSettings
from supervisor import probe
from supervisor.probe import Probe, is_taken, probe_of, why_not

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = ("127.0.0.1",)


def answered(answer: bytes, *, path: str = "/") -> tuple[str, bytes]:
    """What is made of an answer, and what was asked."""
    asked = bytearray()

    def serve(client: socket.socket) -> None:
        asked.extend(client.recv(4096))
        client.sendall(answer)

    return served(serve, path), bytes(asked)


def served(serve: Callable[[socket.socket], None], path: str) -> str:
    """What is made of somebody who serves one connection like this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError), listener.accept()[0] as client:
                serve(client)

        server = threading.Thread(target=accept)
        server.start()
        try:
            return anyio.run(why_not, Probe(HERE, listener.getsockname()[1], path))
        finally:
            server.join(30.0)


@pytest.mark.parametrize("status", [b"200 OK", b"204", b"302 Found", b"399 ?"])
def test_an_answer_in_good_order_is_ready(status: bytes) -> None:
    assert answered(b"HTTP/1.1 " + status + b"\r\n")[0] == ""
    assert answered(b"HTTP/1.0 " + status + b"\n")[0] == ""


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\n", "status 404"),
        (b"HTTP/1.1 503\r\n", "status 503"),
        (b"HTTP/1.1 101 Switching Protocols\r\n", "status 101"),
        (b"-ERR unknown command 'GET'\r\n", "not in HTTP"),
        (b"HTTP/2 200\r\n", "not in HTTP"),
        (b"HTTP/1.1 2000 OK\r\n", "not in HTTP"),
        (b"HTTP/1.1 200 OK", "not in HTTP"),
        (b"", "not in HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n", "not in HTTP"),
    ],
)
def test_any_other_answer_is_not_ready_with_its_reason(answer: bytes, why: str) -> None:
    assert why in answered(answer)[0]


def test_the_request_names_host_and_path() -> None:
    why, asked = answered(b"HTTP/1.1 200 OK\r\n", path="/health?deep=1")
    assert not why
    assert asked.startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")


def test_an_answer_that_drips_is_waited_for_no_longer_than_one_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "PROBE_TIMEOUT", 0.2)

    def drip(client: socket.socket) -> None:
        for _ in range(10_000):
            client.sendall(b"x")
            time.sleep(0.02)

    assert "no answer" in served(drip, "/")


def test_for_a_port_it_is_enough_that_somebody_listens() -> None:
    assert answered(b"", path="") == ("", b"")


def test_nobody_listens_where_nobody_does() -> None:
    async def story(port: int) -> None:
        assert "efused" in await why_not(Probe(HERE, port))
        assert "port 65536" in await why_not(Probe(HERE, 65_536))
        assert not await is_taken(Probe(HERE, port, "/health"))

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        anyio.run(story, bound.getsockname()[1])


def test_a_connection_to_itself_is_nobody_who_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives the end that connects a port; it may be the one that it asks for."""
    connection = asyncio.open_connection

    async def story() -> None:
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            port = own.getsockname()[1]
            own.connect(("127.0.0.1", port))
            monkeypatch.setattr(
                asyncio, "open_connection", lambda _host, _port, **more: connection(sock=own.dup(), **more)
            )
            assert await why_not(Probe(HERE, port)) == f"nobody listens at port {port}"
            assert not await is_taken(Probe(HERE, port))

    anyio.run(story)


def test_each_worker_is_asked_at_its_own_port() -> None:
    settings = CommandSettings(("redis",), "/bin/redis", "/srv", tcp=6379)
    assert [probe_of(settings, slot) for slot in (0, 2)] == [
        Probe(("127.0.0.1", "::1"), 6379),
        Probe(("127.0.0.1", "::1"), 6381),
    ]
    settings = CommandSettings(("otel",), "/bin/otel", "/srv", http="http://[::1]:4318/health?a=b")
    assert probe_of(settings, 1) == Probe(("::1",), 4319, "/health?a=b")
    settings = CommandSettings(("otel",), "/bin/otel", "/srv", http="http://localhost")
    assert probe_of(settings, 0) == Probe(("127.0.0.1", "::1"), 80, "/")
    assert probe_of(CommandSettings(("sleep",), "/bin/sleep", "/srv", log="x"), 0) is None
