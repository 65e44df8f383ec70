"""The link alone: sealed frames over TCP with uvloop on both sides, beside a bare echo on the same kind of socket."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from ipc.link import MAX_HANDSHAKE, Link, accepting, dialling
from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.transport.tcp import dial, listen
from ipc.wire import keys, session
from ipc.wire.session import Terms
from ipc.wire.signing import ALG_OF, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Lock

    from ipc.wire.frame import Frame

WEB, EXEC = WorkerName("web", 0, 1), WorkerName("cpu", 0, 1)
SECRET = bytes(range(32))
BODY = b"x" * 200
BARE_SIZE = 64 + 200 + 36  # as many bytes as a sealed frame has
IN_FLIGHT = 32


class _Unsigned:
    """What a link would cost if it trusted everybody. It exists here alone, and takes the place of the HMAC."""

    tag_size, offset = 32, 64

    def close(self, header: bytes, meta: bytes, body: bytes | memoryview, counter: int) -> list[bytes | memoryview]:  # noqa: ARG002 - a seal's
        return [header, meta, body, _NO_TAG]

    def open(self, frame: bytes | bytearray, counter: int) -> bytes | bytearray:  # noqa: ARG002 - as above
        return frame


_NO_TAG = bytes(32)


def _mode(what: str) -> Mode:
    """Which mode is meant; from "unsigned" on this process signs and believes nothing."""
    if what == "unsigned":
        session.seal_for = lambda _alg, _keys: _Unsigned()
    return "aead" if what == "aead" else "hmac"


def _terms(mode: Mode) -> Terms:
    return Terms("tcp_local", ALG_OF[mode], 1, 1 << 20, 30_000)


class _Echo:
    """The answering side of a link."""

    def established(self, link: Link) -> None: ...
    def ended(self, link: Link) -> None: ...
    def stale(self, link: Link, frame: Frame) -> None: ...

    def heard(self, link: Link, frame: Frame) -> None:
        link.send(Kind.REPLY, frame.call_id, frame.meta, frame.body)  # type: ignore[arg-type]


class _Asker:
    """The asking side: `arrived` is called for each answer."""

    def __init__(self) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.arrived: Any = None

    def established(self, link: Link) -> None:
        self.ready.set_result(link)

    def ended(self, link: Link) -> None: ...
    def stale(self, link: Link, frame: Frame) -> None: ...

    def heard(self, link: Link, frame: Frame) -> None:  # noqa: ARG002
        self.arrived()


class _BareEcho(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _BareAsker(asyncio.Protocol):
    def __init__(self) -> None:
        self.arrived: Any = None
        self._got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        while self._got >= BARE_SIZE:
            self._got -= BARE_SIZE
            self.arrived()


async def _serve(what: str) -> None:
    loop = asyncio.get_running_loop()
    if what == "bare":
        server = await loop.create_server(_BareEcho, "127.0.0.1", 0)
    else:
        mode = _mode(what)
        echo = _Echo()

        def new_end() -> tuple[Link, Lock]:
            link = accepting(echo, EXEC, {_terms(mode).epoch: SECRET}, _terms(mode))
            return link, link.lock

        server = await listen("127.0.0.1", 0, new_end, MAX_HANDSHAKE)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _ask(what: str, port: int, seconds: float) -> tuple[float, float]:
    """p50 of one at a time in us, and answers a second with several in flight."""
    loop = asyncio.get_running_loop()
    if what == "bare":
        _, bare = await loop.create_connection(_BareAsker, "127.0.0.1", port)
        asker: Any = bare
        data = bytes(BARE_SIZE)

        def send() -> None:
            bare.transport.write(data)
    else:
        mode = _mode(what)
        asker = _Asker()
        link = dialling(asker, WEB, EXEC, keys.leaf_key(SECRET, WEB), _terms(mode))
        await dial(f"tcp://127.0.0.1:{port}", link, MAX_HANDSHAKE)
        await asker.ready
        call_id = os.urandom(16)

        def send() -> None:
            link.send(Kind.REQUEST, call_id, b"", BODY)

    times: list[float] = []
    done = loop.create_future()
    until = time.perf_counter() + seconds
    began = time.perf_counter()

    def one() -> None:
        nonlocal began
        now = time.perf_counter()
        times.append(now - began)
        if now > until:
            done.set_result(None)
            return
        began = now
        send()

    asker.arrived = one
    began = time.perf_counter()
    send()
    await done
    count, flying = 0, IN_FLIGHT
    until = time.perf_counter() + seconds
    finished = loop.create_future()

    def many() -> None:
        nonlocal count, flying
        count += 1
        if time.perf_counter() > until:
            flying -= 1
            if not flying:
                finished.set_result(None)
            return
        send()

    asker.arrived = many
    for _ in range(IN_FLIGHT):
        send()
    await finished
    return statistics.median(times) * 1e6, count / seconds


@contextmanager
def _server(what: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, {1 % (os.cpu_count() or 1)})
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def measure(rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Bare, unsigned, hmac and aead in turn; medians."""
    kinds = ("bare", "unsigned", "hmac", "aead")
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        for _ in range(rounds):
            for kind in kinds:
                signed = session.seal_for
                try:
                    with _server(kind) as port:
                        seen[kind].append(uvloop.run(_ask(kind, port, seconds)))
                finally:
                    session.seal_for = signed
    finally:
        os.sched_setaffinity(0, here)
    return {
        kind: (statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs))
        for kind, runs in seen.items()
    }


def table(seen: dict[str, tuple[float, float]]) -> list[str]:
    """The figures as Markdown."""
    told = [
        f"| link, 200 B bodies | round trip p50 us | x | round trips/s, {IN_FLIGHT} in flight | x |",
        "|---|---|---|---|---|",
    ]
    bare = seen["bare"]
    for kind, (p50, rate) in seen.items():
        name = "bare uvloop echo, as many bytes" if kind == "bare" else f"link, {kind}"
        told.append(f"| {name} | {p50:.0f} | {p50 / bare[0]:.2f} | {rate:,.0f} | {rate / bare[1]:.2f} |")
    return told


def goals(seen: dict[str, tuple[float, float]]) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    return [
        ("link round trip (hmac) / bare echo, p50", seen["hmac"][0] / seen["bare"][0], "<= 2.0"),
        ("signed link (hmac) / unsigned, round trips/s", seen["hmac"][1] / seen["unsigned"][1], ">= 0.8"),
    ]


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
