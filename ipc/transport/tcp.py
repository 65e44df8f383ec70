"""Frames over a TCP connection on this machine."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from ipc.stats import refuse
from ipc.transport.base import CLOSE_TIME, MAX_BACKLOG_FRAMES
from ipc.wire.frame import Refuse
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

    from ipc.transport.base import End


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
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._behind = False
        self._closing = False
        self._turn = 0  # frames in this turn of the loop
        self._many = False
        self._most = MAX_BACKLOG_FRAMES * largest

    # -- the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._lock is not None:
            # A descriptor of our own: the loop may close its one while another thread is about to write.
            self._fd = os.dup(sock.fileno())
            self._transport.set_write_buffer_limits(high=0)
        self._end.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            for frame in self._deframer.feed(data):
                if self._closing:
                    return
                self._end.received(frame)
        except Refuse as refused:
            refuse(refused.reason)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it ended
        """The connection is gone."""
        if self._lock is not None:
            with self._lock:
                os.close(self._fd)
                self._fd = -1
                self._rest.clear()
        self._transport = None
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
            self._behind = True
            self._rest.append(data[sent:])
            self._rest_size = len(data) - sent
            self._loop.call_soon_threadsafe(self._flush)
            return
        self._rest.append(data)
        self._rest_size += len(data)
        if self._rest_size > self._most:
            self._loop.call_soon_threadsafe(self.abort)

    def _write_here(self, data: bytes) -> None:
        """In the loop's own thread: a lone frame at once, many frames of one turn of the loop together.

        A write costs more than a seal. Whether there will be many is guessed from the turn before.
        """
        self._turn += 1
        if self._turn == 1:
            self._loop.call_soon(self._end_turn)
            if not self._many and self._transport is not None:
                self._transport.write(data)
                return
        self._rest.append(data)

    def _end_turn(self) -> None:
        self._many, self._turn = self._turn > 1, 0
        transport, rest = self._transport, self._rest
        if transport is None:
            return
        if rest:
            data = rest[0] if len(rest) == 1 else b"".join(rest)
            rest.clear()
            transport.write(data)
        if transport.get_write_buffer_size() > self._most:
            self.abort()

    def limit(self, largest: int) -> None:
        """Accept larger frames; see `Carrier`."""
        self._deframer.limit = largest
        self._most = MAX_BACKLOG_FRAMES * largest

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
                data, self._rest, self._rest_size = b"".join(self._rest), [], 0
                transport.write(data)
            if not transport.get_write_buffer_size():
                self._behind = False
                if self._closing and not transport.is_closing():
                    transport.write_eof()


async def dial(address: str, end: End, largest: int) -> None:
    """Connect to `tcp://127.0.0.1:40123`; `end` is told as soon as the connection stands. Raises OSError."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: StreamCarrier(end, largest), host, int(port))


async def listen(host: str, port: int, new_end: Callable[[], tuple[End, Lock]], largest: int) -> asyncio.Server:
    """Accept connections; each gets an end of its own. Raises OSError."""
    loop = asyncio.get_running_loop()

    def accepted() -> StreamCarrier:
        end, lock = new_end()
        return StreamCarrier(end, largest, lock)

    return await loop.create_server(accepted, host, port, backlog=128)
