"""One shared page per worker: what it does right now, readable without asking it.

The supervisor makes a memfd for each child and keeps it; the child maps it and writes. No lock is needed: each field
is one aligned 8-byte word with one writer, stored at once (`struct.pack_into` would write zeros first), and a reader
that comes between two words sees two true numbers of almost the same moment.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from ipc.clock import now

PAGE = 4096
_WORD = 8
_CALLS, _RUNNING, _REFUSED, _BEAT = 0, 1, 2, 3
_NANO = 1e9
_SLOT = 64
SLOTS = PAGE // _SLOT
"""Workers that one page has room for: the process itself, and those that are threads of it."""


def create(name: str, size: int = PAGE) -> int:
    """A new zeroed memfd of `size` bytes, at least a page; returns its descriptor, close-on-exec.

    It stays that long: were it cut short by a node, whoever reads it next would die of SIGBUS, the supervisor first.
    """
    fd = os.memfd_create(f"shunter-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


class Scoreboard:
    """One slot of a mapped page. The worker counts, the supervisor reads."""

    __slots__ = ("_at", "_calls", "_map", "_refused", "_running", "_words")

    def __init__(self, fd: int, slot: int = 0) -> None:
        """`slot` 0 is the process itself; the others are for workers that live in it."""
        self._map = mmap.mmap(fd, PAGE)
        self._words = memoryview(self._map).cast("Q")
        self._at = slot * (_SLOT // _WORD)
        self._calls = self._running = self._refused = 0

    def begin(self) -> None:
        """One more call (or request) is under way."""
        self._running += 1
        self._words[self._at + _RUNNING] = self._running

    def end(self) -> None:
        """One call (or request) is over, whatever came of it."""
        self._running -= 1
        self._calls += 1
        self._words[self._at + _RUNNING] = self._running
        self._words[self._at + _CALLS] = self._calls

    def refuse(self) -> None:
        """One message broke the protocol."""
        self._refused += 1
        self._words[self._at + _REFUSED] = self._refused

    def beat(self) -> None:
        """Its event loop turns."""
        self._words[self._at + _BEAT] = int(now() * _NANO)

    def last_beat(self) -> float:
        """When the event loop of this slot's writer last turned, monotonic seconds; 0 if it has not yet."""
        return self._words[self._at + _BEAT] / _NANO

    def read(self, slot: int = 0) -> tuple[int, int, int]:
        """Finished, running, refused: what the writer of `slot`, counted from this one, last wrote."""
        at = self._at + slot * (_SLOT // _WORD)
        return (
            self._words[at + _CALLS],
            self._words[at + _RUNNING],
            self._words[at + _REFUSED],
        )

    def close(self) -> None:
        """Unmap the page."""
        self._words.release()
        self._map.close()
