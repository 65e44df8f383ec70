"""Frames over a connected stream socket, whatever its family."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from ipc.stats import refuse
from ipc.transport.base import CLOSE_TIME, FRAME_TIME, MAX_BACKLOG_FRAMES, WRITE_STALL
from ipc.wire.frame import Refusal, Refuse
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Lock

    from ipc.transport.base import End

TICK = 1.0
"""How often a carrier that waits for something looks whether it came, seconds; none does otherwise."""
FRAME_TICKS, STALL_TICKS = int(FRAME_TIME / TICK), int(WRITE_STALL / TICK)


SOCKET_BUFFER = 4 * 1024 * 1024
"""How much of what one end says a Unix socket may hold, bytes, if frames are so large. The kernel grants no more than
`net.core.wmem_max`."""


class StreamCarrier(asyncio.Protocol):
    """One end of a connection, a protocol for the loop's transport.

    With a `lock`, `write` may be called from any thread that holds it, and writes to the socket at once instead of
    waking the loop: half the price of a reply. What the socket does not take is handed to the loop, and until that is
    gone everything else queues behind it. Reading is the loop's alone.
    """

    def __init__(self, end: End, largest: int, lock: Lock | None = None) -> None:
        self._end = end
        self._lock = lock
        self._deframer = Deframer(largest)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._rest: list[bytes | memoryview] = []
        self._rest_size = 0
        self._behind = False
        self._closing = False
        self._turn = 0  # frames in this turn of the loop
        self._many = False
        self._large = False  # whether there are parts of a large frame among the rest
        self._most = MAX_BACKLOG_FRAMES * largest
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._reading = 0  # ticks since the frame at hand was begun
        self._stalled = 0  # ticks since the peer took anything
        self._handed = self._taken = 0  # bytes given to the transport since the ticking began, and gone from it

    # -- the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._lock is not None:
            # A descriptor of our own: the loop may close its one while another thread is about to write.
            self._fd = os.dup(sock.fileno())
            self._transport.set_write_buffer_limits(high=0)
        self._end.opened(self)

    def refused(self, transport: asyncio.BaseTransport) -> None:
        """The connection is not to be: end it before its owner is told that it stands."""
        self._closing = True
        cast("asyncio.Transport", transport).abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            for frame in self._deframer.feed(data):
                if self._closing:
                    return
                self._reading = 0
                self._end.received(frame)
        except Refuse as refused:
            refuse(refused.reason)
            self.abort()
        else:
            if self._ticker is None and self._lock is not None and self._deframer.partial:
                self._start_ticking()
            if self._deframer.room is not None and not self._closing:
                self._listen(_Rest(self, self._deframer))

    def filled(self, frame: bytearray | None) -> None:
        """More of a large frame came into its place, or all of it."""
        if frame is not None and not self._closing:
            self._reading = 0
            self._end.received(frame)
        if self._deframer.room is None:
            self._listen(self)

    def _listen(self, protocol: asyncio.BaseProtocol) -> None:
        """Have what comes received in another way from now on."""
        if self._transport is not None:
            self._transport.pause_reading()  # a loop may look only when it begins to read
            self._transport.set_protocol(protocol)
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it ended
        """The connection is gone."""
        if self._lock is not None:
            with self._lock:
                if self._fd >= 0:
                    os.close(self._fd)
                self._fd = -1
                self._rest.clear()
        self._transport = None
        if self._ticker is not None:
            self._ticker.cancel()
        self._end.closed()

    def resume_writing(self) -> None:
        """What the loop had to write is written."""
        if self._lock is not None:
            self._flush()

    # -- the owner's side

    def write(self, data: bytes) -> None:
        """Send one frame; see `Carrier`."""
        if self._closing:
            return
        if self._lock is None:
            self._write_here(data)
            return
        if self._fd < 0:
            return
        if not self._behind:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the loop will notice, and say so in its own thread
            if sent == len(data):
                return
            self._fall_behind([data[sent:]])
            return
        self._rest.append(data)
        self._rest_size += len(data)
        if self._rest_size > self._most:
            self._loop.call_soon_threadsafe(self.abort)

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send one large frame; see `Carrier`."""
        if self._closing:
            return
        if self._lock is None:
            self._rest += map(_lasting, parts)
            self._large = True
            self._turn += 1
            if self._turn == 1:
                self._loop.call_soon(self._end_turn)
            return
        if self._fd < 0:
            return
        if not self._behind:
            try:
                sent = os.writev(self._fd, parts)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # as above
            if rest := _after(parts, sent):
                self._fall_behind(rest)
            return
        self._rest += map(_lasting, parts)
        self._rest_size += sum(map(len, parts))
        if self._rest_size > self._most:
            self._loop.call_soon_threadsafe(self.abort)

    def _fall_behind(self, rest: Sequence[bytes | memoryview]) -> None:
        """The socket did not take everything: from now on the loop writes, until nothing is left."""
        self._behind = True
        self._rest += map(_lasting, rest)
        self._rest_size = sum(map(len, rest))
        self._loop.call_soon_threadsafe(self._flush)

    def _write_here(self, data: bytes) -> None:
        """In the loop's own thread: a lone frame at once, many frames of one turn of the loop together.

        A write costs more than a seal. Whether there will be many is guessed from the turn before.
        """
        self._turn += 1
        if self._turn == 1:
            self._loop.call_soon(self._end_turn)
            if not self._many and self._transport is not None:
                self._give(self._transport, data)
                return
        self._rest.append(data)

    def _end_turn(self) -> None:
        self._many, self._turn = self._turn > 1, 0
        transport, rest = self._transport, self._rest
        if transport is None:
            return
        if self._large:
            self._rest, self._large = [], False
            self._give_all(transport, rest)
        elif rest:
            data = rest[0] if len(rest) == 1 else b"".join(rest)
            rest.clear()
            self._give(transport, data)
        if transport.get_write_buffer_size() > self._most:
            self.abort()

    def _give(self, transport: asyncio.Transport, data: bytes | memoryview) -> None:
        if self._ticker is not None:
            self._handed += len(data)
        transport.write(data)

    def _give_all(self, transport: asyncio.Transport, parts: list[bytes | memoryview]) -> None:
        if self._ticker is not None:
            self._handed += sum(map(len, parts))
        transport.writelines(parts)

    def limit(self, largest: int) -> None:
        """Accept larger frames; see `Carrier`."""
        self._deframer.limit = largest
        self._most = MAX_BACKLOG_FRAMES * largest
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            # So that a frame need not go in many small parts. TCP finds its own size, unless it is told one.
            size = min(largest, SOCKET_BUFFER)
            if size > sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def close(self) -> None:
        """End the connection once everything is written.

        Only our direction ends at once, and the peer ends the other when it has read everything: were the socket
        closed while there is something in it that we did not read, the kernel would drop what we wrote last.
        """
        if self._transport is None or self._closing:
            return
        if self._lock is None:
            self._end_turn()
        with self._lock or nullcontext():
            self._closing = True
            if not self._behind and not self._transport.is_closing():
                self._transport.write_eof()
        self._loop.call_later(CLOSE_TIME, self.abort)

    def abort(self) -> None:
        """End the connection now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        """Give the loop what the socket did not take; when that is gone too, write directly again."""
        assert self._lock is not None  # noqa: S101 - only called with one
        with self._lock:
            transport = self._transport
            if transport is None or transport.get_write_buffer_size():
                return
            if self._rest:
                rest, self._rest, self._rest_size = self._rest, [], 0
                self._give_all(transport, rest)
            if transport.get_write_buffer_size():
                if self._ticker is None:
                    self._start_ticking()
            else:
                self._behind = False
                if self._closing and not transport.is_closing():
                    transport.write_eof()

    # -- peers that leave us waiting
    #
    # Only who was dialled asks this of the other end. An exec worker is not asked: a node may keep the interpreter from
    # everything else in its process for as long as its call may take, in the middle of a frame too.

    def _start_ticking(self) -> None:
        self._reading = self._stalled = self._taken = 0
        self._handed = 0 if self._transport is None else self._transport.get_write_buffer_size()
        self._tick_again()

    def _tick_again(self) -> None:
        self._due = self._loop.time() + TICK
        self._ticker = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        """End the link if the peer does not finish what it began, or does not take what we have for it.

        A tick counts as one however late it comes: while this process slept, or a node kept the interpreter, nothing
        could be seen of the peer. For the same reason a late one is not the last: what came meanwhile is read first.
        """
        self._ticker = None
        transport = self._transport
        if transport is None or self._closing:
            return
        late = self._loop.time() - self._due > TICK / 2
        partial, waiting = self._deframer.partial, transport.get_write_buffer_size()
        self._reading = self._reading + 1 if partial else 0
        taken, before = self._handed - waiting, self._taken
        self._taken = taken
        self._stalled = self._stalled + 1 if waiting and taken == before else 0
        if self._reading > FRAME_TICKS + late or self._stalled > STALL_TICKS + late:
            refuse(Refusal.TIMEOUT)
            self.abort()
        elif partial or waiting:
            self._tick_again()


class _Rest(asyncio.BufferedProtocol):
    """Stands in for a carrier while what is missing of a large frame is received into the frame's own memory.

    Only then: to ask where the bytes are to go costs small frames more than to copy them.
    """

    def __init__(self, carrier: StreamCarrier, deframer: Deframer) -> None:
        self._carrier, self._deframer = carrier, deframer
        self.connection_lost, self.resume_writing = carrier.connection_lost, carrier.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it may be more, and never less than is missing
        """The frame's own memory, and not a byte more."""
        room = self._deframer.room
        assert room is not None  # noqa: S101 - while there is none, this does not listen
        return room

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        self._carrier.filled(self._deframer.filled(nbytes))


def _lasting(part: bytes | memoryview) -> bytes | memoryview:
    """The part itself if nobody can change it until it is sent: its tag is made already."""
    return part if isinstance(part, bytes) or type(part.obj) is bytes else bytes(part)


def _after(parts: Sequence[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of the parts once the first `sent` bytes are gone."""
    rest: list[bytes | memoryview] = []
    for part in parts:
        if sent >= len(part):
            sent -= len(part)
        else:
            rest.append(memoryview(part)[sent:] if sent else part)
            sent = 0
    return rest
