"""Has events shown or kept by a thread of its own, so that a reader or a disk that is slow holds up nothing."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import TYPE_CHECKING, TypeAlias

from supervisor.events import LineWritten, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.events import Event

    Show: TypeAlias = Callable[[Event, datetime], None]

WAITING = 4096
"""Events that may wait; more are dropped, counted, and confessed."""
WAITING_CHARACTERS = 8 * 1024 * 1024
"""Characters of workers' lines that may wait. No worker has more than half of either: one that floods loses its own."""
PATIENCE = 1.0
"""How long those that still wait are looked after at the end, seconds."""


class Outlet:
    """A hook that never waits; what it hears is given to somebody who may, with the time when it was heard."""

    def __init__(self, show: Show, waiting: int = WAITING, lost: str = "shown here: nobody took them") -> None:
        self._show = show
        self._most = waiting
        self._loss = lost
        self._waiting: deque[tuple[Event, datetime]] = deque()
        self._lines: Counter[str] = Counter()  # of each worker that waits
        self._characters: Counter[str] = Counter()
        self._total = 0
        self._changed = Condition()
        self._lost = 0
        self._closed = False
        self._thread = Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Have it shown soon."""
        with self._changed:
            if len(self._waiting) >= self._most or (isinstance(event, LineWritten) and not self._has_room(event)):
                self._lost += 1
                return
            self._waiting.append((event, datetime.now(UTC)))
            self._changed.notify()

    def close(self, patience: float = PATIENCE) -> bool:
        """Show what is left; whether that could be done in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _has_room(self, line: LineWritten) -> bool:
        """Whether one more line of that worker may wait; if so, it does."""
        who, size = line.worker, len(line.text)
        if self._lines[who] >= self._most // 2 or self._characters[who] + size > WAITING_CHARACTERS // 2:
            return False
        if self._total + size > WAITING_CHARACTERS:
            return False
        self._lines[who] += 1
        self._characters[who] += size
        self._total += size
        return True

    def _free(self, line: LineWritten) -> None:
        who = line.worker
        self._lines[who] -= 1
        self._characters[who] -= len(line.text)
        self._total -= len(line.text)
        if not self._lines[who]:
            del self._lines[who], self._characters[who]

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                lost, self._lost = self._lost, 0
                event, when = self._waiting.popleft() if self._waiting else (None, datetime.now(UTC))
                if isinstance(event, LineWritten):
                    self._free(event)
            if lost:
                self._try(Trouble(f"{lost} events or lines were not {self._loss}"), when)
            if event is None:
                return
            self._try(event, when)

    def _try(self, event: Event, when: datetime) -> None:
        try:
            self._show(event, when)
        except BrokenPipeError:
            # Nobody reads any more. The rest goes nowhere, and no complaint about it comes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception:  # noqa: BLE001 -- what cannot be shown must not keep the rest from being shown
            return
