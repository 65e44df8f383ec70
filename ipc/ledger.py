"""Which calls a worker has begun, where its supervisor can read it once the worker is dead.

It lies behind the scoreboard in the same memfd. Two tables, each entry with one writer:

    begun     a ring of the last calls that were begun, whatever became of them: what is not in it was not begun
    running   a row for each call that runs now: since when, and when it is ended by force

A call is noted before its node runs. What a process stored before it was killed stays stored, in the order in which it
stored it, so after a death the tables say what is true; while it lives a reader sees each word whole.
"""

from __future__ import annotations

import math
import mmap
import os
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ipc.clock import now
from ipc.errors import Misuse
from ipc.scoreboard import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGUN = 1024
"""How many of the calls that were begun last are remembered. A web worker waits for far fewer of one exec worker."""
MAX_ROWS = 4096
"""Calls that one worker may run at once: slots, times the largest batch."""
_ID = 16
_BEGUN_SIZE = 32  # call id, when
_ROW_SIZE = 64  # call id, when, kill at, grace once its caller has left
_ROWS_AT = PAGE + BEGUN * _BEGUN_SIZE
_WORD = 8
_WHEN, _KILL_AT, _CANCEL_GRACE = 2, 3, 4  # words of an entry, after the call id
IDLE = 0.0
"""`kill_at` of a row that no call has."""


class Running(NamedTuple):
    """One call that runs, or ran when its worker died. Times are monotonic seconds."""

    row: int
    call_id: bytes
    since: float
    kill_at: float
    cancel_grace: float
    """How long it may go on once its caller has left, seconds; infinite if that is nothing to it."""


class Begun(NamedTuple):
    """What had been begun. A call that was sent after `since` and is not among `ids` was not."""

    since: float
    ids: tuple[bytes, ...]


def size(rows: int) -> int:
    """How long the memfd of a worker is that runs so many calls at once, bytes."""
    if not 1 <= rows <= MAX_ROWS:
        raise Misuse(f"{rows} calls at once; 1 to {MAX_ROWS} are possible")
    return -(-(_ROWS_AT + rows * _ROW_SIZE) // PAGE) * PAGE


class Ledger:
    """Both tables, mapped. The worker writes, the supervisor reads."""

    __slots__ = ("_bytes", "_free", "_lock", "_map", "_next", "_rows", "_times")

    def __init__(self, fd: int, rows: int = MAX_ROWS) -> None:
        """Map the memfd; -1 for memory that nobody else sees, with that many rows. Raises Misuse, OSError."""
        whole = os.fstat(fd).st_size if fd >= 0 else size(rows)
        if whole < size(1):
            raise Misuse(f"a ledger of {whole} bytes has no room for a call")
        self._map = mmap.mmap(fd, whole)
        self._bytes = memoryview(self._map)
        self._times = self._bytes.cast("d")
        self._rows = (whole - _ROWS_AT) // _ROW_SIZE
        self._free = list(range(self._rows - 1, -1, -1))
        self._next = 0
        self._lock = Lock()

    # -- the worker's side

    def begin(self, call_id: bytes, kill_at: float, cancel_grace: float) -> int:
        """Note that a call is about to run; returns its row, which is to be given back to `end`.

        `kill_at` is when it is ended by force, monotonic seconds; `cancel_grace` how long after its caller has left.
        Raises Misuse when more run at once than there are rows.
        """
        view, times = self._bytes, self._times
        with self._lock:
            if not self._free:
                raise Misuse(f"more than {self._rows} calls at once")
            row, time = self._free.pop(), now()
            at = PAGE + self._next * _BEGUN_SIZE
            self._next = (self._next + 1) % BEGUN
            # First the time: an entry that is half written says nothing wrong of either call.
            times[at // _WORD + _WHEN] = time
            view[at : at + _ID] = call_id
            at = _ROWS_AT + row * _ROW_SIZE
            view[at : at + _ID] = call_id
            word = at // _WORD
            times[word + _WHEN] = time
            times[word + _CANCEL_GRACE] = cancel_grace
            times[word + _KILL_AT] = kill_at
        return row

    def end(self, row: int) -> None:
        """The call in `row` is over."""
        with self._lock:
            self._times[(_ROWS_AT + row * _ROW_SIZE) // _WORD + _KILL_AT] = IDLE
            self._free.append(row)

    # -- the supervisor's side

    def running(self) -> Iterator[Running]:
        """Every call that runs."""
        view, times = self._bytes, self._times
        for row in range(self._rows):
            at = _ROWS_AT + row * _ROW_SIZE
            word = at // _WORD
            if (kill_at := times[word + _KILL_AT]) != IDLE:
                since, grace = times[word + _WHEN], times[word + _CANCEL_GRACE]
                yield Running(row, bytes(view[at : at + _ID]), since, kill_at, grace)

    def due(self) -> float:
        """When the first of the calls that run is to be ended by force, monotonic seconds; infinite if none runs."""
        first, times = math.inf, self._times
        for word in range(
            _ROWS_AT // _WORD + _KILL_AT, (_ROWS_AT + self._rows * _ROW_SIZE) // _WORD, _ROW_SIZE // _WORD
        ):
            kill_at = times[word]
            if kill_at != IDLE and kill_at < first:
                first = kill_at
        return first

    def begun(self) -> Begun:
        """What was begun: to be asked once the worker is dead."""
        ids, oldest = [], math.inf
        for at in range(PAGE, _ROWS_AT, _BEGUN_SIZE):
            if (time := self._times[at // _WORD + _WHEN]) != 0:
                ids.append(bytes(self._bytes[at : at + _ID]))
                oldest = min(oldest, time)
        whole = len(ids) < BEGUN
        ids += [call.call_id for call in self.running()]  # it may run for longer than the ring goes back
        return Begun(0.0 if whole else oldest, tuple(dict.fromkeys(ids)))

    def close(self) -> None:
        """Unmap it."""
        self._times.release()
        self._bytes.release()
        self._map.close()
