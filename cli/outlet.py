"""Shows events in a thread of its own, so that whoever reads slowly, or has stopped the terminal, holds up nothing."""

from __future__ import annotations

import os
import queue
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from supervisor.events import Trouble

if TYPE_CHECKING:
    from supervisor.events import Event, Hook

WAITING = 4096
"""Events that may wait to be shown; more are dropped, counted, and confessed."""
PATIENCE = 1.0
"""How long those that still wait are shown at the end, seconds."""


class Outlet:
    """A hook that never waits; what it hears is given to another one that may."""

    def __init__(self, show: Hook, waiting: int = WAITING) -> None:
        self._show = show
        self._waiting: queue.Queue[Event | None] = queue.Queue(waiting)
        self._lost = 0  # counted by who calls
        self._told = 0  # and told by the thread, so that neither writes what the other does
        self._thread = Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Have it shown soon."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._lost += 1

    def close(self, patience: float = PATIENCE) -> bool:
        """Show what is left; whether that could be done in time."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=patience)
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            self._confess()
            self._try(event)
        self._confess()

    def _confess(self) -> None:
        lost = self._lost - self._told
        if lost:
            self._told += lost
            self._try(Trouble(f"{lost} events or lines were not shown here: nobody took them"))

    def _try(self, event: Event) -> None:
        try:
            self._show(event)
        except BrokenPipeError:
            # Nobody reads any more. The rest goes nowhere, and no complaint about it comes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception:  # noqa: BLE001 -- what cannot be shown must not keep the rest from being shown
            return
