"""One client that asks when it is time, whatever became of what it asked before.

No event loop: their timers are a millisecond coarse. A request that finds every connection taken opens one more.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Event

MOST = 800
"""Connections at once, when answers come too slowly: below what a process may have of files by default."""
CONNECTIONS = 64
"""As many are open before the first request."""
PATIENCE = 60.0
"""How long answers are awaited after the last request, seconds."""


class Seen(NamedTuple):
    """One request: when it was sent and answered, monotonic seconds, and with what. Status 0: its connection broke."""

    sent: float
    answered: float
    status: int
    body: bytes


class _Connection:
    __slots__ = ("got", "index", "sent", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.index = -1
        self.sent = 0.0


class Client:
    """Connections to one service, each with one request at a time."""

    def __init__(self, url: str, path: str, method: str = "POST") -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: "
        self._poll = select.epoll()
        self._all: dict[int, _Connection] = {}
        self._free: deque[_Connection] = deque()  # who was free for longest is next: both web workers get their share
        for _ in range(CONNECTIONS):
            self._free.append(self._open())

    def close(self) -> None:
        """Close all."""
        for connection in self._all.values():
            connection.socket.close()
        self._poll.close()

    def ask(self, due: Sequence[tuple[float, bytes]], enough: Event | None = None) -> list[Seen]:
        """Send each body so many seconds after the start; returns what became of each, in the same order.

        Once there is `enough`, no more are sent.
        """
        seen: list[Seen | None] = [None] * len(due)
        start = time.monotonic()
        sent, left, until = 0, len(due), start + due[-1][0] + PATIENCE
        while left:
            now = time.monotonic()
            assert now < until, f"{left} requests were never answered"
            if enough is not None and enough.is_set():
                left -= len(due) - sent
                due, until, enough = due[:sent], now + PATIENCE, None
                continue
            while sent < len(due) and start + due[sent][0] <= now and (self._free or len(self._all) < MOST):
                left -= self._send(sent, due[sent][1], seen)
                sent += 1
            wake = start + due[sent][0] if sent < len(due) else until
            if select.select([self._poll], (), (), max(0.0, wake - time.monotonic()))[0]:  # epoll alone counts in ms
                for fd, _ in self._poll.poll(0):
                    left -= self._hear(self._all[fd], seen)
        return [each for each in seen if each is not None]

    def one(self, body: bytes) -> Seen:
        """One request, now."""
        return self.ask([(0.0, body)])[0]

    def _open(self) -> _Connection:
        connection = _Connection(self._address)
        self._all[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def _send(self, index: int, body: bytes, seen: list[Seen | None]) -> bool:
        """Send a request; whether that was all that will become of it."""
        request = f"{self._head}{len(body)}\r\n\r\n".encode() + body
        connection = self._free.popleft() if self._free else self._open()
        connection.index, connection.sent = index, time.monotonic()
        try:
            connection.socket.sendall(request)
        except ConnectionError:
            return self._lose(connection, seen)
        return False

    def _lose(self, connection: _Connection, seen: list[Seen | None]) -> bool:
        """Let go of a connection that broke; whether a request was on it."""
        del self._all[connection.socket.fileno()]
        connection.socket.close()
        if connection.index < 0:
            self._free.remove(connection)
            return False
        seen[connection.index] = Seen(connection.sent, time.monotonic(), 0, b"")
        return True

    def _hear(self, connection: _Connection, seen: list[Seen | None]) -> bool:
        """Take what came; whether that was the end of an answer."""
        try:
            got = connection.socket.recv(65536)
        except ConnectionError:
            got = b""
        if not got:
            return self._lose(connection, seen)
        now = time.monotonic()
        connection.got += got
        head, _, body = connection.got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return False
        seen[connection.index] = Seen(connection.sent, now, int(head[9:12]), body)
        connection.got, connection.index = b"", -1
        self._free.append(connection)
        return True


@contextmanager
def client(url: str, path: str, method: str = "POST") -> Iterator[Client]:
    """A client for as long as it is needed; threads of this process hand over quickly meanwhile."""
    interval, made = sys.getswitchinterval(), Client(url, path, method)
    sys.setswitchinterval(0.0002)
    try:
        yield made
    finally:
        sys.setswitchinterval(interval)
        made.close()
