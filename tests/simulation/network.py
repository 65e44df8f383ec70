"""A kernel's sockets in virtual time: streams with buffers that fill, lifelines, ports that are used again.

A stream keeps order and loses nothing but what was under way when an end vanished. Whatever else happens to the
bytes is somebody's doing: `tamper` may change what one write puts on the way.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtual import Process, World

FIRST_FD = 50_000_000
"""No descriptor of the process that simulates has such a number."""
PORTS = range(40_000, 40_012)
_CREDENTIALS = struct.Struct("3i")


class Side(asyncio.Transport):
    """One end of a stream: what asyncio calls a transport, and the kernel's socket under it."""

    family = socket.AF_INET

    def __init__(self, network: Network, process: Process, port: int, *, dialled: bool) -> None:
        super().__init__()
        self.network, self.process, self.port, self.dialled = network, process, port, dialled
        self.protocol: Any = None
        self.other: Side
        self.fd = network.new_fd()
        network.sides[self.fd] = self
        process.sockets.append(self)
        self.unread = 0
        """Bytes on the way to the other end."""
        self.kept = bytearray()
        """Bytes that the kernel did not take yet."""
        self.not_before = 0.0
        self.high = 65_536
        self.paused = self.eof_asked = self.eof_sent = self.closing = self.gone = self.reset = False

    # -- asyncio's transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *_: object) -> None: ...

    def fileno(self) -> int:
        return self.fd

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return len(self.kept)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002 - asyncio's names
        self.high = 65_536 if high is None else high

    def write(self, data: Any) -> None:
        if self.closing or self.eof_asked:
            return
        self.kept += data
        self._push()
        if len(self.kept) > self.high and not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write_eof(self) -> None:
        self.eof_asked = True
        self._push()

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._push()

    def abort(self) -> None:
        self.kept.clear()
        if not self.closing:
            self.closing = True
            self.process.post(self._lost)
        else:
            self._push()

    # -- the kernel's side

    @property
    def room(self) -> int:
        return max(0, self.network.buffer - self.unread)

    def take(self, data: bytes) -> int:
        """`os.write` on its descriptor."""
        if self.gone or self.reset:
            raise BrokenPipeError
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self._transmit(bytes(taken))
        return len(taken)

    def _push(self) -> None:
        """Give the kernel what it takes; then what was put off until nothing is left."""
        if self.gone:
            return
        if self.kept and not self.reset:
            taken = bytes(self.kept[: self.room])
            if taken:
                del self.kept[: len(taken)]
                self._transmit(taken)
        if self.kept:
            return
        if self.paused:
            self.paused = False
            self.protocol.resume_writing()
        if self.kept:
            return
        if self.eof_asked and not self.eof_sent:
            self._send_eof()
        if self.closing:
            self.process.post(self._lost)

    def _transmit(self, data: bytes) -> None:
        pieces = self.network.tamper(self, data)
        if pieces is None:
            pieces = [data]
        for piece in pieces:
            self.unread += len(piece)
            self.network.world.at(self._arrival(), self._arrive, piece)

    def _send_eof(self) -> None:
        self.eof_sent = True
        self.network.world.at(self._arrival(), self._arrive, None)

    def _arrival(self) -> float:
        self.not_before = max(self.not_before, self.network.world.now + self.network.latency())
        return self.not_before

    def _arrive(self, piece: bytes | None) -> None:
        other = self.other
        if other.gone:
            self.unread -= len(piece or b"")
            if piece:
                self.be_reset()
        elif other.protocol is None or other.process.alive:
            other.process.post(other._take, piece)

    def _take(self, piece: bytes | None) -> None:
        if self.gone or self.reset:
            return
        if piece is None:
            if not self.closing and not self.protocol.eof_received():
                self.close()
            return
        sender = self.other
        if self.closing:
            return  # it stays unread
        sender.unread -= len(piece)
        if sender.process.alive and (sender.kept or sender.closing):
            sender.process.post(sender._push)
        self._deliver(piece)

    def _deliver(self, piece: bytes) -> None:
        """As a loop does: into the protocol's own buffer, if it has one."""
        while piece and not self.closing:
            if not isinstance(self.protocol, asyncio.BufferedProtocol):
                self.protocol.data_received(piece)
                return
            room = self.protocol.get_buffer(-1)
            count = min(len(room), len(piece))
            room[:count], piece = piece[:count], piece[count:]
            self.protocol.buffer_updated(count)

    def be_reset(self) -> None:
        """The kernel says that there is nobody: what has not been read is lost."""
        if not self.gone and not self.reset:
            self.reset = True
            self.kept.clear()
            self.closing = True
            self.process.post(self._lost)

    def _lost(self) -> None:
        if not self.gone:
            self._vanish()
            self.protocol.connection_lost(ConnectionResetError() if self.reset else None)

    def owner_died(self) -> None:
        """The kernel closes what a dead process had open."""
        if not self.gone:
            self._vanish()

    def _vanish(self) -> None:
        self.gone = True
        self.process.sockets.remove(self)
        del self.network.sides[self.fd]
        if self.reset:
            return
        if self.other.unread:  # unread data at a close: the kernel resets
            self.network.world.after(self.network.latency(), self.other.be_reset)
        elif not self.eof_sent:
            self._send_eof()

    def slip_in(self, data: bytes) -> None:
        """Somebody in the middle says something in this end's name."""
        self.unread += len(data)
        self.network.world.at(self._arrival(), self._arrive, data)

    def cut(self) -> None:
        """Somebody in the middle ends it for both."""
        self.be_reset()
        self.other.be_reset()


class Server:
    """A listening socket."""

    def __init__(self, network: Network, process: Process, factory: Callable[[], Any], port: int) -> None:
        self.network, self.process, self.factory, self.port = network, process, factory, port
        self.sockets = (self,)
        network.listeners[port] = self
        process.sockets.append(self)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def close(self) -> None:
        if self.network.listeners.get(self.port) is self:
            del self.network.listeners[self.port]
            self.process.sockets.remove(self)

    owner_died = close


class LifelineEnd:
    """One end of a socket pair between supervisor and child, as `socket.socket` looks to them."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self.other: LifelineEnd
        self.fd = network.new_fd()
        network.lifelines[self.fd] = self
        self.inbox: deque[bytes] = deque()
        self.not_before = 0.0
        process.sockets.append(self)

    def setblocking(self, flag: bool) -> None: ...

    def fileno(self) -> int:
        return self.fd

    def send(self, data: Any) -> int:
        self._send(bytes(data))
        return len(data)

    def sendall(self, data: bytes) -> None:
        self._send(data)

    def _send(self, data: bytes) -> None:
        self.not_before = max(self.not_before, self.network.world.now + self.network.latency())
        self.network.world.at(self.not_before, self.other._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.process.alive and self.fd >= 0:
            self.inbox.append(data)
            self.process.loop.readable(self.fd)

    def recv(self, size: int, _flags: int = 0) -> bytes:
        if not self.inbox:
            raise BlockingIOError
        data = self.inbox.popleft()
        if data[size:]:
            self.inbox.appendleft(data[size:])
        return data[:size]

    def recvmsg(self, size: int, _space: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        whom = _CREDENTIALS.pack(self.other.process.pid, 0, 0)
        return self.recv(size), [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, whom)], 0, None

    def close(self) -> None:
        self.network.lifelines.pop(self.fd, None)
        self.fd = -1

    def owner_died(self) -> None:
        """Nothing to read any more means that the peer is gone: `recv` gives nothing."""
        self.process.sockets.remove(self)
        self.network.world.after(self.network.latency(), self.other._arrive, b"")


class Network:
    """Everything that has a descriptor."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.network = self
        self.sides: dict[int, Side] = {}
        self.listeners: dict[int, Server] = {}
        self.lifelines: dict[int, LifelineEnd] = {}
        self.exited: set[int] = set()
        self.buffer = world.rng.choice([700, 4000, 65_536, 65_536])
        """What the kernel keeps for each direction of a stream, bytes."""
        self.way = world.rng.choice([1e-4, 1e-4, 5e-3])
        """How long bytes take as a rule, seconds."""
        self.tamper: Callable[[Side, bytes], list[bytes] | None] = lambda _side, _data: None
        self._fd = FIRST_FD
        self.real = os.dup, os.write, os.close, os.writev

    def new_fd(self) -> int:
        self._fd += 1
        return self._fd

    def latency(self) -> float:
        rng = self.world.rng
        return rng.uniform(0.1, 2.0) * self.way if rng.random() < 0.98 else rng.uniform(0.0, 0.03)

    def has_something(self, fd: int) -> bool:
        return fd in self.exited or (fd in self.lifelines and bool(self.lifelines[fd].inbox))

    def pair(self, one: Process, two: Process) -> tuple[LifelineEnd, LifelineEnd]:
        ends = LifelineEnd(self, one), LifelineEnd(self, two)
        ends[0].other, ends[1].other = ends[1], ends[0]
        return ends

    def listen(self, process: Process, factory: Callable[[], Any], port: int) -> Server:
        free = [each for each in PORTS if each not in self.listeners]
        return Server(self, process, factory, port or self.world.rng.choice(free))

    async def connect(self, process: Process, factory: Callable[[], Any], port: int) -> tuple[Side, Any]:
        await asyncio.sleep(self.latency())
        server = self.listeners.get(port)
        if server is None:
            raise ConnectionRefusedError
        near, far = (
            Side(self, process, port, dialled=True),
            Side(self, server.process, port, dialled=False),
        )
        near.other, far.other = far, near
        server.process.post(self._accepted, server, far)
        near.protocol = factory()
        made = process.loop.create_future()
        process.post(near.protocol.connection_made, near)
        process.post(lambda: made.done() or made.set_result(None))
        try:
            await made
        except asyncio.CancelledError:
            near.close()
            raise
        return near, near.protocol

    def _accepted(self, server: Server, side: Side) -> None:
        if side.gone:
            return
        side.protocol = server.factory()
        side.protocol.connection_made(side)

    # -- what the code under test asks of the operating system

    def dup(self, fd: int) -> int:
        return fd if fd >= FIRST_FD else self.real[0](fd)

    def write(self, fd: int, data: Any) -> int:
        if fd < FIRST_FD:
            return self.real[1](fd, data)
        if fd not in self.sides:
            raise BrokenPipeError
        return self.sides[fd].take(data)

    def writev(self, fd: int, parts: Any) -> int:
        if fd < FIRST_FD:
            return self.real[3](fd, parts)
        return self.write(fd, b"".join(parts))

    def close(self, fd: int) -> None:
        if fd < FIRST_FD:
            self.real[2](fd)
