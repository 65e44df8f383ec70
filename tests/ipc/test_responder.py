"""Who may stay connected to an exec worker, for how long, and how many at once."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from ipc import responder as module
from ipc.errors import Misuse
from ipc.link import Link, dialling, refusals
from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.responder import MAX_HALF_OPEN, Responder
from ipc.transport import stream, unix
from ipc.transport.tcp import dial
from ipc.wire.frame import Refusal
from ipc.wire.handshake import MAX_HANDSHAKE
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.wire.frame import Frame

WEB, EXEC = WorkerName("web", 0, 3), WorkerName("cpu_sync", 1, 7)
SECRET = server_secret(root_for_epoch(bytes(range(32)), 0), EXEC)
NOISE = random.Random(1).randbytes(4096)
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 0, 1 << 16, 30_000)


class Service:
    def __init__(self) -> None:
        self.ends = 0
        self.frames: list[Frame] = []
        self.begun: list[bool] = []

    def heard(self, link: Link, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.kind == Kind.REQUEST:
            self.begun.append(not link.ending)

    def stale(self, _link: Link, frame: Frame) -> None:
        self.frames.append(frame)

    def ended(self, _link: Link) -> None:
        self.ends += 1


class Side:
    def __init__(self) -> None:
        self.up = self.over = False

    def established(self, _link: Link) -> None:
        self.up = True

    def heard(self, _link: Link, frame: Frame) -> None:
        raise AssertionError(frame)

    def ended(self, _link: Link) -> None:
        self.over = True


class Wire:
    """A carrier that only takes notes."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data[4:])

    def limit(self, largest: int) -> None:
        pass

    def close(self) -> None:
        self.story.append("close")

    abort = close


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - it may happen in another thread
            await asyncio.sleep(0.001)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def client(name: WorkerName = WEB, secret: bytes = SECRET) -> tuple[Side, Link]:
    side = Side()
    return side, dialling(side, name, EXEC, leaf_key(secret, name), TERMS)


async def test_a_web_worker_is_let_in_and_its_end_is_told() -> None:
    service = Service()
    responder = Responder(EXEC, SECRET, TERMS, service)
    address = await responder.listen("127.0.0.1", 0)
    assert address.startswith("tcp://127.0.0.1:")
    side, link = client()
    await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: side.up and responder.links == 1)
    link.close()
    await until(lambda: side.over and service.ends)
    assert responder.links == 0
    responder.close()


async def test_close_ends_every_link_and_the_listener() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    address = await responder.listen("127.0.0.1", 0)
    ends = [client(WorkerName("web", slot, 1)) for slot in range(3)]
    for _, link in ends:
        await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: responder.links == 3)
    responder.close()
    await until(lambda: responder.links == 0 and all(side.over for side, _ in ends))
    with pytest.raises(ConnectionRefusedError):
        await dial(address, client()[1], MAX_HANDSHAKE)


async def test_a_successor_that_fails_takes_nothing_from_its_predecessor(tmp_path: Path) -> None:
    successor = EXEC._replace(incarnation=8)
    first, second = (Responder(name, SECRET, TERMS, Service()) for name in (EXEC, successor))
    address = await first.listen_at(f"{tmp_path}/{EXEC.socket}")
    await second.listen_at(f"{tmp_path}/{successor.socket}")
    second.close()
    assert names(tmp_path) == ["cpu_sync-1.7.sock"]
    side, link = client()
    await unix.dial(address, link, MAX_HANDSHAKE)
    await until(lambda: side.up)
    link.close()
    await until(lambda: side.over)
    first.close()
    assert not names(tmp_path)


async def test_between_install_and_retire_both_keys_open_the_door() -> None:
    responder = Responder(EXEC, SECRET, TERMS, service := Service())
    address = await responder.listen("127.0.0.1", 0)
    newer = TERMS._replace(epoch=TERMS.epoch + 1)
    new_secret = bytes(reversed(SECRET))

    def newcomer() -> tuple[Side, Link]:
        side = Side()
        return side, dialling(side, WEB, EXEC, leaf_key(new_secret, WEB), newer)

    refused, link = newcomer()
    await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: refused.over)
    assert not refused.up
    responder.install(newer.epoch, new_secret)
    (old_side, old), (new_side, new) = client(), newcomer()
    for link in (old, new):
        await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: old_side.up and new_side.up and responder.links == 2)
    responder.retire(newer.epoch)
    late, link = client()
    await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: late.over)
    assert not late.up
    # What was begun on the old link may be called off and declined there; nothing may begin.
    old.send(Kind.CANCEL, bytes(16))
    new.send(Kind.REQUEST, bytes(16))
    await until(lambda: len(service.frames) == 2)
    old.send(Kind.REQUEST, bytes(16))
    await until(lambda: len(service.frames) == 3)
    assert sorted(service.begun) == [False, True]  # it is for the service to give back what came on the old one
    responder.close()


async def test_a_handshake_under_a_key_that_is_retired_meanwhile_ends_in_nothing() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    far, _lock = responder.new_end()
    assert isinstance(far, Link)
    side, near = client()
    there, here = Wire(), Wire()
    far.opened(there)
    near.opened(here)
    far.received(here.sent.pop())  # HELLO
    responder.install(TERMS.epoch + 1, bytes(32))
    responder.retire(TERMS.epoch + 1)
    near.received(there.sent.pop())  # ACCEPT
    far.received(here.sent.pop())  # FINISH
    assert side.up
    assert there.story == ["close"]


async def test_who_is_dismissed_hears_it_and_hangs_up_when_it_has_its_answers() -> None:
    responder = Responder(EXEC, SECRET, TERMS, service := Service())
    address = await responder.listen("127.0.0.1", 0)
    told: list[int] = []
    side, link = client()
    side.heard = lambda _link, frame: told.append(frame.kind)
    await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: side.up and responder.links == 1)
    responder.dismiss()
    await until(lambda: told == [Kind.CLOSED])
    link.send(Kind.REQUEST, bytes(16))  # sent by somebody who had not heard it yet
    await until(lambda: service.begun == [False])
    link.close()
    await until(lambda: responder.links == 0)
    responder.close()


async def test_who_could_not_be_heard_in_time_because_we_slept_is_heard_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIME", 0.3)
    monkeypatch.setattr(module, "LATE", 0.1)
    responder = Responder(EXEC, SECRET, TERMS, Service())
    address = await responder.listen("127.0.0.1", 0)
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    end, wire = client()[1], Wire()
    end.opened(wire)
    hello = wire.sent.pop()
    reader, writer = await asyncio.open_connection(host, int(port))
    await until(lambda: responder._half_open)
    writer.write(len(hello).to_bytes(4, "big") + hello)
    time.sleep(1)  # noqa: ASYNC251 - as a node does that keeps the interpreter
    accept = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    end.received(accept)
    finish = wire.sent.pop()
    writer.write(len(finish).to_bytes(4, "big") + finish)
    await until(lambda: responder.links == 1)
    writer.close()
    await until(lambda: responder.links == 0)
    responder.close()


async def test_keys_only_go_forward() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    for epoch in (TERMS.epoch, TERMS.epoch - 1):
        with pytest.raises(Misuse):
            responder.install(epoch, bytes(32))
    with pytest.raises(Misuse):
        responder.retire(TERMS.epoch + 1)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x10" + bytes(16),
        b"\x00\x00\x00\x9c" + NOISE[:156],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x80\x04\x95\x0b\x00\x00\x00",
        NOISE,
    ],
)
async def test_a_stranger_is_shown_out_in_silence(said: bytes) -> None:
    service = Service()
    responder = Responder(EXEC, SECRET, TERMS, service)
    host, port = (await responder.listen("127.0.0.1", 0)).removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    with anyio.fail_after(30):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    responder.close()
    assert (service.ends, service.frames, responder.links) == (0, [], 0)


async def test_a_leaf_of_another_worker_opens_nothing() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    address = await responder.listen("127.0.0.1", 0)
    side, link = client(secret=server_secret(root_for_epoch(bytes(range(32)), 0), EXEC._replace(incarnation=8)))
    await dial(address, link, MAX_HANDSHAKE)
    await until(lambda: side.over)
    assert not side.up
    assert responder.links == 0
    responder.close()


@pytest.mark.parametrize("said", [b"", b"\x00\x00"])  # nothing, or a length that takes its time
async def test_who_proves_nothing_in_time_has_to_go(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIME", 0.01)
    monkeypatch.setattr(stream, "FRAME_TICKS", 10**9)  # so that nothing else ends it
    before = refusals[Refusal.TIMEOUT]
    responder = Responder(EXEC, SECRET, TERMS, Service())
    host, port = (await responder.listen("127.0.0.1", 0)).removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    try:
        with anyio.fail_after(10):
            assert await reader.read() == b""
    finally:
        writer.close()
        responder.close()
    assert refusals[Refusal.TIMEOUT] == before + 1


async def test_one_too_many_closes_the_oldest() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    wires = []
    for _ in range(MAX_HALF_OPEN + 3):
        end, _lock = responder.new_end()
        wires.append(wire := Wire())
        end.opened(wire)
    assert [bool(wire.story) for wire in wires] == [True] * 3 + [False] * MAX_HALF_OPEN
    responder.close()


async def test_connections_that_come_in_one_burst_are_bounded_too() -> None:
    """All are accepted before the first is told that it stands: closing such a one must not be forgotten."""
    responder = Responder(EXEC, SECRET, TERMS, Service())
    ends = [responder.new_end()[0] for _ in range(MAX_HALF_OPEN + 3)]
    wires = [Wire() for _ in ends]
    for end, wire in zip(ends, wires, strict=True):
        end.opened(wire)
    assert [bool(wire.story) for wire in wires] == [True] * 3 + [False] * MAX_HALF_OPEN
    responder.close()


async def test_someone_given_up_cannot_come_in_with_a_late_proof() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    end, _ = responder.new_end()
    there, here = Wire(), Wire()
    side, link = client()
    link.opened(here)
    end.opened(there)
    end.received(here.sent.pop())
    link.received(there.sent.pop())
    assert side.up
    for _ in range(MAX_HALF_OPEN):
        responder.new_end()
    assert there.story
    end.received(here.sent.pop())  # FINISH was on its way
    assert responder.links == 0
    end.closed()
    responder.close()


async def test_strangers_leave_nothing_behind() -> None:
    responder = Responder(EXEC, SECRET, TERMS, Service())
    for _ in range(3 * MAX_HALF_OPEN):
        end, _ = responder.new_end()
        end.opened(Wire())
        end.received(b"whatever")
        end.closed()
    assert not responder._half_open
    responder.close()


async def test_garbage_is_counted_and_closed() -> None:
    before = refusals[Refusal.TOO_LARGE]
    responder = Responder(EXEC, SECRET, TERMS, Service())
    host, port = (await responder.listen("127.0.0.1", 0)).removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    with anyio.fail_after(30), suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    responder.close()
    assert refusals[Refusal.TOO_LARGE] == before + 1
