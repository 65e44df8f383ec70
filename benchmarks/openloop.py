"""One client that asks when it is time, whatever became of what it asked before.

One thread sleeps until the next request is due and sends it, another hears the answers: an event loop's timers are
a millisecond coarse. A request that finds every connection taken opens one more.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS = 64
"""As many are open before the first request."""
PATIENCE = 60.0
"""How long answers are awaited after the last request, seconds."""


class Seen(NamedTuple):
    """One request: when it was sent and answered, monotonic seconds, and with what."""

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

    def ask(self, due: Sequence[tuple[float, bytes]]) -> list[Seen]:
        """Send each body so many seconds after the start; returns what became of each, in the same order."""
        seen: list[Seen | None] = [None] * len(due)
        listener = Thread(target=self._listen, args=(seen, due[-1][0] + PATIENCE), daemon=True)
        listener.start()
        start = time.monotonic()
        for index, (after, body) in enumerate(due):
            request = f"{self._head}{len(body)}\r\n\r\n".encode() + body
            time.sleep(max(0.0, start + after - time.monotonic()))
            connection = self._free.popleft() if self._free else self._open()
            connection.index, connection.sent = index, time.monotonic()
            connection.socket.sendall(request)
        listener.join()
        told = [each for each in seen if each is not None]
        assert len(told) == len(due), f"{len(due) - len(told)} requests were never answered"
        return told

    def one(self, body: bytes) -> Seen:
        """One request, now."""
        return self.ask([(0.0, body)])[0]

    def _open(self) -> _Connection:
        connection = _Connection(self._address)
        self._all[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def _listen(self, seen: list[Seen | None], seconds: float) -> None:
        left, until = len(seen), time.monotonic() + seconds
        while left and time.monotonic() < until:
            for fd, _ in self._poll.poll(1.0):
                connection = self._all[fd]
                got = connection.socket.recv(65536)
                now = time.monotonic()
                assert got, "the service closed a connection"
                connection.got += got
                head, _, body = connection.got.partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                if length and len(body) == int(length):
                    seen[connection.index] = Seen(connection.sent, now, int(head[9:12]), body)
                    connection.got = b""
                    self._free.append(connection)
                    left -= 1


@contextmanager
def client(url: str, path: str, method: str = "POST") -> Iterator[Client]:
    """A client for as long as it is needed; its two threads hand over quickly meanwhile."""
    interval, made = sys.getswitchinterval(), Client(url, path, method)
    sys.setswitchinterval(0.0002)
    try:
        yield made
    finally:
        sys.setswitchinterval(interval)
        made.close()
