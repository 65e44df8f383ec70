"""Has events shown or kept by a thread of its own, so that a reader or a disk that is slow holds up nothing."""

from __future__ import annotations

import os
import sys
from collections import deque
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
"""Characters of workers' lines that may wait."""
PATIENCE = 1.0
"""How long those that still wait are looked after at the end, seconds."""


class Outlet:
    """A hook that never waits; what it hears is given to somebody who may, with the time when it was heard."""

    def __init__(self, show: Show, waiting: int = WAITING, lost: str = "shown here: nobody took them") -> None:
        self._show = show
        self._most = waiting
        self._loss = lost
        self._waiting: deque[tuple[Event, datetime]] = deque()
        self._characters = 0
        self._changed = Condition()
        self._lost = 0
        self._closed = False
        self._thread = Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Have it shown soon."""
        size = len(event.text) if isinstance(event, LineWritten) else 0
        with self._changed:
            if len(self._waiting) >= self._most or self._characters + size > WAITING_CHARACTERS:
                self._lost += 1
                return
            self._waiting.append((event, datetime.now(UTC)))
            self._characters += size
            self._changed.notify()

    def close(self, patience: float = PATIENCE) -> bool:
        """Show what is left; whether that could be done in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                lost, self._lost = self._lost, 0
                event, when = self._waiting.popleft() if self._waiting else (None, datetime.now(UTC))
                self._characters -= len(event.text) if isinstance(event, LineWritten) else 0
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
