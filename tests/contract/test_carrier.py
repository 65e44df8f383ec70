"""What `ipc.transport.base` promises, asked of every carrier: one function a promise.

The near end lives in the test's loop and writes; the far end lives in a loop and a thread of its own, so that it can
be made not to read.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from ipc.stats import refusals
from ipc.transport import memory, stream, tcp, unix
from ipc.transport.base import MAX_BACKLOG_FRAMES
from ipc.wire.frame import LARGE, Refusal
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ipc.transport.base import Carrier

LARGEST = 64 * 1024
ONE_READ = 256_000
"""The most that uvloop reads at once where it is not told where to."""
STREAMS = ["tcp_dialled", "tcp_accepted", "unix_dialled", "unix_accepted"]
"""Here the peer is another process. In memory whoever does not read is this one.

The two ends are not alike: the one that accepts may be written to by other threads.
"""
CARRIERS = ["memory", *STREAMS]
ACCEPTED, DIALLED = ["tcp_accepted", "unix_accepted"], ["tcp_dialled", "unix_dialled"]
ANY_THREAD = ["memory", "tcp_accepted", "unix_accepted"]


class Owner:
    """One end, and everything it was told."""

    def __init__(self) -> None:
        self.carrier: Carrier | None = None
        self.lock = threading.Lock()
        self.story: list[str] = []
        self.frames: list[bytes] = []
        self.on_frame: Callable[[bytes], None] = lambda _frame: None
        self.over = threading.Event()

    def opened(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.story.append("opened")

    def received(self, frame: bytes | bytearray) -> None:
        self.story.append("received")
        self.frames.append(bytes(frame))
        self.on_frame(bytes(frame))

    def closed(self) -> None:
        self.story.append("closed")
        self.over.set()

    def write(self, *frames: bytes) -> None:
        assert self.carrier is not None
        for frame in frames:
            with self.lock:
                self.carrier.write(framed(frame))


class Far:
    """A loop in a thread of its own, which can be held up."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._go_on = threading.Event()

    def stall(self) -> None:
        """Stop reading, and everything else; returns when that has begun."""
        self._go_on.clear()
        stopped = threading.Event()

        def hold() -> None:
            stopped.set()
            self._go_on.wait()

        self.loop.call_soon_threadsafe(hold)
        stopped.wait()

    def go_on(self) -> None:
        self._go_on.set()

    def run(self, awaitable: Awaitable[object]) -> object:
        async def wait() -> object:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result()

    def do(self, action: Callable[..., object], *args: object) -> None:
        async def wait() -> None:
            action(*args)

        self.run(wait())

    def end(self) -> None:
        self.go_on()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [number.to_bytes(4, "big") * (size // 4) for number in range(count)]


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - it may happen in another thread
            await asyncio.sleep(0.001)


async def listening(
    kind: str, directory: str, new_end: Callable[[], tuple[Owner, threading.Lock]], largest: int
) -> tuple[asyncio.AbstractServer, Callable[[Owner], Awaitable[None]]]:
    """A listener of this kind, and how to dial it."""
    if kind.startswith("unix"):
        path = f"{directory}/cpu-0.sock"
        server = await unix.listen(path, new_end, largest)
        return server, lambda end: unix.dial(f"unix://{path}", end, largest)
    server = await tcp.listen("127.0.0.1", 0, new_end, largest)
    port = server.sockets[0].getsockname()[1]
    return server, lambda end: tcp.dial(f"tcp://127.0.0.1:{port}", end, largest)


@asynccontextmanager
async def pair(kind: str, far_loop: Far, largest: int = LARGEST) -> AsyncIterator[tuple[Owner, Owner]]:
    """Near, far."""
    with tempfile.TemporaryDirectory(prefix="shunter-") as directory:
        async with _pair(kind, directory, far_loop, largest) as ends:
            yield ends


@asynccontextmanager
async def _pair(kind: str, directory: str, far_loop: Far, largest: int) -> AsyncIterator[tuple[Owner, Owner]]:
    near, far = Owner(), Owner()
    server: asyncio.AbstractServer | None = None
    if kind == "memory":
        memory.connect(near, asyncio.get_running_loop(), far, far_loop.loop, largest)
    elif kind.endswith("accepted"):
        server, dialling = await listening(kind, directory, lambda: (near, near.lock), largest)
        await asyncio.to_thread(far_loop.run, dialling(far))
    else:
        there, dialling = await asyncio.to_thread(
            far_loop.run, listening(kind, directory, lambda: (far, far.lock), largest)
        )
        await dialling(near)
        far_loop.do(there.close)
    await until(lambda: near.carrier and far.carrier)
    try:
        yield near, far
    finally:
        far_loop.go_on()
        near.carrier.close()
        await until(near.over.is_set)
        await until(far.over.is_set)
        if server is not None:
            server.close()
        for owner in (near, far):
            assert owner.story.index("opened") == 0
            assert owner.story.count("opened") == 1
            assert owner.story.count("closed") == 1
            assert owner.story[-1] == "closed"


@pytest.fixture
def far_loop() -> Iterator[Far]:
    far = Far()
    yield far
    far.end()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is promised does not come about by giving up."""
    monkeypatch.setattr(stream, "CLOSE_TIME", 3600.0)


@pytest.fixture(params=CARRIERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_frames_arrive_whole_in_order_and_once(kind: str, far_loop: Far) -> None:
    sizes = (1, 3, 64, 1500, 1, LARGEST, 2, 40_000)
    frames = [bytes([number]) * size for number, size in enumerate(sizes * 20)]
    async with pair(kind, far_loop) as (near, far):
        for number, frame in enumerate(frames):
            near.write(frame)
            await until(lambda number=number: len(far.frames) > number - 4)
        await until(lambda: len(far.frames) >= len(frames))
        assert far.frames == frames


def large(near: Owner, number: int, size: int) -> bytes:
    """Write a frame in parts, of all kinds; returns it."""
    frame = number.to_bytes(4, "big") * (size // 4)
    changing, third = bytearray(frame[100 : size // 2]), size // 2
    parts = [len(frame).to_bytes(4, "big"), frame[:100], memoryview(changing), b"", memoryview(frame)[third:]]
    with near.lock:
        near.carrier.writelines(parts)
    changing[:] = bytes(len(changing))  # what happens to a buffer afterwards does not concern us
    return frame


@pytest.mark.parametrize("stalled", [False, True])
async def test_frames_in_parts_arrive_among_others_in_order(kind: str, far_loop: Far, stalled: bool) -> None:
    largest = 4 * 1024 * 1024
    async with pair(kind, far_loop, largest) as (near, far):
        if stalled:
            far_loop.stall()
        frames: list[bytes] = []
        for number in range(4):
            near.write(b"before")
            frames += [b"before", large(near, number, largest), b"after"]
            near.write(b"after")
            if number == 1:
                await asyncio.sleep(0.01)
        far_loop.go_on()
        await until(lambda: len(far.frames) == len(frames))
        assert far.frames == frames
        near.write(b"the last")
        await until(lambda: far.frames[-1] == b"the last")


@pytest.mark.parametrize("kind", ANY_THREAD)
async def test_another_thread_may_write_in_parts(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop, 1024 * 1024) as (near, far):
        frames = await asyncio.to_thread(lambda: [large(near, number, 1024 * 1024) for number in range(6)])
        await until(lambda: len(far.frames) == len(frames))
        assert far.frames == frames


@given(st.lists(st.binary(max_size=20), max_size=6), st.integers(0, 130))
def test_what_is_left_of_parts_is_what_was_not_sent(parts: list[bytes], sent: int) -> None:
    whole = b"".join(parts)
    rest = stream._after(parts, min(sent, len(whole)))
    assert b"".join(rest) == whole[sent:]
    assert all(rest)


async def test_both_directions_are_open(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        far.on_frame = far.write
        near.write(*numbered(50))
        await until(lambda: len(near.frames) == 50)
        assert near.frames == numbered(50)


@pytest.mark.parametrize("kind", ANY_THREAD)
async def test_another_thread_may_write_while_the_reader_is_slow(kind: str, far_loop: Far) -> None:
    largest = 1024 * 1024
    frames = numbered((MAX_BACKLOG_FRAMES - 1) * 8, largest // 8)
    async with pair(kind, far_loop, largest) as (near, far):
        far_loop.stall()
        await asyncio.to_thread(near.write, *frames)
        assert far.frames == []
        far_loop.go_on()
        await until(lambda: len(far.frames) >= len(frames))
        near.write(b"and afterwards")  # what had to wait is gone: written directly again
        await until(lambda: len(far.frames) > len(frames))
        assert far.frames == [*frames, b"and afterwards"]


@pytest.mark.parametrize("kind", ANY_THREAD)
async def test_threads_that_take_turns_lose_nothing(kind: str, far_loop: Far) -> None:
    rounds, size = 60, 20_000
    async with pair(kind, far_loop, 4 * 1024 * 1024) as (near, far):

        def write(mark: int) -> None:
            for number in range(rounds):
                near.write(bytes([mark, number]) * (size // 2))

        async with anyio.create_task_group() as tasks:
            for mark in range(3):
                tasks.start_soon(asyncio.to_thread, write, mark)
        await until(lambda: len(far.frames) >= 3 * rounds)
        for mark in range(3):
            assert [frame[1] for frame in far.frames if frame[0] == mark] == list(range(rounds))


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_peer_that_does_not_read_is_closed_at_the_bound(kind: str, far_loop: Far, at_once: bool) -> None:
    largest = 256 * 1024
    frame = bytes(largest)
    async with pair(kind, far_loop, largest) as (near, far):
        far_loop.stall()
        for _ in range(200):  # 50 MiB: beyond what any socket buffer takes
            near.write(frame)
            if not at_once:
                await asyncio.sleep(0)
        await until(near.over.is_set if kind != "memory" else lambda: True)
        far_loop.go_on()
        await until(near.over.is_set)
        await until(far.over.is_set)
        assert len(far.frames) < 200
        assert set(far.frames) <= {frame}


async def test_close_delivers_what_was_written(kind: str, far_loop: Far) -> None:
    largest = 1024 * 1024
    frames = numbered(MAX_BACKLOG_FRAMES - 1, largest)
    async with pair(kind, far_loop, largest) as (near, far):
        far_loop.stall()
        near.write(*frames)
        near.carrier.close()
        far_loop.go_on()
        await until(far.over.is_set)
        assert far.frames == frames


async def test_close_delivers_also_to_a_peer_that_was_just_speaking(kind: str, far_loop: Far) -> None:
    largest = 1024 * 1024
    frames = numbered(MAX_BACKLOG_FRAMES - 1, largest)
    async with pair(kind, far_loop, largest) as (near, far):
        far_loop.do(far.write, *numbered(100, 1000))  # arrives in us, and is never read
        far_loop.stall()
        near.write(*frames)
        near.carrier.close()
        far_loop.go_on()
        await until(far.over.is_set)
        assert far.frames == frames


async def test_close_does_not_wait_for_ever(kind: str, far_loop: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CLOSE_TIME", 0.05)
    largest = 1024 * 1024
    async with pair(kind, far_loop, largest) as (near, _far):
        far_loop.stall()
        near.write(*numbered(MAX_BACKLOG_FRAMES - 1, largest))
        near.carrier.close()
        await until(near.over.is_set)


async def test_abort_does_not_wait_at_all(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        far_loop.stall()
        near.write(*numbered(5))
        near.carrier.abort()
        await until(near.over.is_set)
        far_loop.go_on()
        await until(far.over.is_set)
        assert far.frames == numbered(5)[: len(far.frames)]


async def test_the_far_end_may_leave_too(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        far_loop.do(far.write, b"bye")
        far_loop.do(far.carrier.close)
        await until(near.over.is_set)
        assert near.frames == [b"bye"]


async def test_after_the_close_nothing_is_sent_or_heard(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        near.carrier.close()
        near.carrier.close()
        near.write(b"too late")
        far_loop.do(far.write, b"too late as well")
        await until(near.over.is_set)
        await until(far.over.is_set)
        near.write(b"much too late")
        near.carrier.close()
        assert near.frames == []
        assert far.frames == []


async def test_a_frame_that_is_too_long_closes_the_carrier(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        near.carrier.limit(10 * LARGEST)
        near.write(b"fits", bytes(LARGEST + 1), b"is never read")
        await until(near.over.is_set)
        await until(far.over.is_set)
        assert far.frames == [b"fits"]


async def test_a_length_alone_is_enough_to_be_closed() -> None:
    owner = Owner()
    server = await tcp.listen("127.0.0.1", 0, lambda: (owner, owner.lock), LARGEST)
    with socket.create_connection(server.sockets[0].getsockname()) as stranger:
        stranger.sendall(b"\xff\xff\xff\xff")
        await until(owner.over.is_set)
    server.close()
    assert owner.frames == []


async def test_a_raised_limit_holds_for_the_very_next_frame(kind: str, far_loop: Far) -> None:
    """The owner raises it while it hears the frame before, with which the next one has come in one piece."""
    long = b"x" * (20 * LARGEST)
    async with pair(kind, far_loop) as (near, far):
        far.on_frame = lambda _frame: far.carrier.limit(20 * LARGEST)
        near.carrier.limit(20 * LARGEST)
        far_loop.stall()
        near.write(b"short", long, b"short again")
        far_loop.go_on()
        await until(lambda: len(far.frames) == 3)
        assert far.frames == [b"short", long, b"short again"]


@pytest.fixture
def _ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds that pass faster: ten of them in a third of one."""
    monkeypatch.setattr(stream, "TICK", 0.03)


def raw(far: Owner, far_loop: Far, data: bytes) -> None:
    """Send bytes that are no whole frame."""
    far_loop.do(far.carrier.write, data)


async def turns(ticks: float) -> None:
    await asyncio.sleep(ticks * stream.TICK)


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("begun", [1, 3, 4, 60])
async def test_a_frame_that_is_never_finished_ends_the_link(kind: str, far_loop: Far, begun: int) -> None:
    before = refusals[Refusal.TIMEOUT]
    async with pair(kind, far_loop) as (near, far):
        raw(far, far_loop, framed(b"whole") + framed(bytes(100))[:begun])
        await until(near.over.is_set)
        assert near.frames == [b"whole"]
        assert refusals[Refusal.TIMEOUT] == before + 1


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", ACCEPTED)
async def test_a_frame_that_comes_byte_by_byte_ends_the_link(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        for byte in framed(bytes(1000)):
            raw(far, far_loop, bytes([byte]))
            await turns(0.5)
            if near.over.is_set():
                break
        await until(near.over.is_set)
        assert near.frames == []


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", ACCEPTED)
async def test_nor_does_a_large_frame_that_comes_a_little_at_a_time(kind: str, far_loop: Far) -> None:
    largest = 1024 * 1024
    async with pair(kind, far_loop, largest) as (near, far):
        raw(far, far_loop, framed(bytes(largest))[: largest // 2])
        for _ in range(10 * stream.FRAME_TICKS):
            raw(far, far_loop, bytes(100))
            await turns(0.5)
            if near.over.is_set():
                break
        await until(near.over.is_set)
        assert near.frames == []


@pytest.mark.parametrize("kind", STREAMS)
async def test_large_frames_are_read_into_their_own_memory(
    kind: str, far_loop: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but what is read with their lengths, and the little at their ends that may have others behind it."""
    fed: list[int] = []
    feed = Deframer.feed

    def watched(self: Deframer, data: bytes) -> Iterator[bytes | bytearray]:
        fed.append(len(data))
        return feed(self, data)

    monkeypatch.setattr(Deframer, "feed", watched)
    frames = numbered(5, 1024 * 1024)
    async with pair(kind, far_loop, 1024 * 1024) as (near, far):
        near.write(*frames)
        await until(lambda: len(far.frames) == len(frames))
        assert far.frames == frames
    assert sum(fed) <= len(frames) * (ONE_READ + LARGE)


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", STREAMS)
async def test_each_frame_has_a_time_of_its_own(kind: str, far_loop: Far) -> None:
    """A peer that is always in the middle of a frame is a busy one."""
    frames = numbered(5, 400)
    async with pair(kind, far_loop) as (near, far):
        stream_of = b"".join(framed(frame) for frame in frames)
        for at in range(0, len(stream_of), 97):
            raw(far, far_loop, stream_of[at : at + 97])
            await turns(1)
        await until(lambda: len(near.frames) == 5)
        assert near.frames == frames


@pytest.mark.parametrize("kind", ACCEPTED)
async def test_nobody_is_ended_for_the_time_in_which_we_slept(
    kind: str, far_loop: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TICK", 0.25)
    monkeypatch.setattr(stream, "FRAME_TICKS", 2)
    frame = bytes(12 * 1024 * 1024)  # more than sockets hold: it can only come while we read
    whole = framed(frame)
    async with pair(kind, far_loop, len(frame)) as (near, far):
        raw(far, far_loop, whole[:50])
        await until(lambda: near.carrier._reading == stream.FRAME_TICKS)
        far_loop.loop.call_soon_threadsafe(far.carrier.write, whole[50:])
        time.sleep(3 * stream.TICK)  # noqa: ASYNC251 - as a node does that keeps the interpreter
        await until(lambda: near.frames or near.over.is_set())
        assert near.frames == [frame]
        await turns(2)
        assert not near.over.is_set()


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", DIALLED)
async def test_who_was_dialled_may_take_nothing_for_as_long_as_a_node_runs(kind: str, far_loop: Far) -> None:
    largest = 4 * 1024 * 1024
    frames = numbered(MAX_BACKLOG_FRAMES - 1, largest)
    async with pair(kind, far_loop, largest) as (near, far):
        far_loop.stall()
        near.write(*frames)
        await turns(3 * stream.STALL_TICKS)
        assert not near.over.is_set()
        far_loop.go_on()
        await until(lambda: len(far.frames) == len(frames))
        assert far.frames == frames


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", DIALLED)
async def test_nor_is_it_hurried_in_the_middle_of_a_frame(kind: str, far_loop: Far) -> None:
    whole = framed(bytes(range(100)))
    async with pair(kind, far_loop) as (near, far):
        raw(far, far_loop, whole[:50])
        await turns(3 * stream.FRAME_TICKS)
        assert not near.over.is_set()
        raw(far, far_loop, whole[50:])
        await until(lambda: near.frames)
        assert near.frames == [bytes(range(100))]


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", ACCEPTED)
async def test_a_peer_that_takes_nothing_ends_the_link(kind: str, far_loop: Far) -> None:
    before = refusals[Refusal.TIMEOUT]
    largest = 4 * 1024 * 1024
    async with pair(kind, far_loop, largest) as (near, _far):
        far_loop.stall()
        near.write(*numbered(MAX_BACKLOG_FRAMES - 1, largest))
        for _ in range(10 * stream.STALL_TICKS):
            near.write(b"that there is always something new to write changes nothing")
            await turns(0.5)
        assert near.over.is_set()
        assert refusals[Refusal.TIMEOUT] == before + 1


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_peer_that_takes_a_little_now_and_then_is_waited_for(kind: str, far_loop: Far) -> None:
    """For as long as it takes: what counts is that it takes anything at all."""
    largest = 4 * 1024 * 1024
    frames = numbered(28, 1024 * 1024)
    async with pair(kind, far_loop, largest) as (near, far):
        far.on_frame = lambda _frame: time.sleep(stream.TICK)
        near.write(*frames)
        await until(lambda: len(far.frames) == len(frames))
        assert far.frames == frames


@pytest.mark.usefixtures("_ticking")
@pytest.mark.parametrize("kind", ACCEPTED)
async def test_no_timer_runs_on_a_carrier_that_waits_for_nothing(kind: str, far_loop: Far) -> None:
    async with pair(kind, far_loop) as (near, far):
        raw(far, far_loop, framed(b"one") + framed(b"two")[:5])
        await until(lambda: near.carrier._ticker)
        raw(far, far_loop, framed(b"two")[5:])
        await until(lambda: near.carrier._ticker is None)
        await turns(stream.FRAME_TICKS + 3)
        assert near.carrier._ticker is None
        assert near.frames == [b"one", b"two"]
