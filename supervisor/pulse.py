"""Ends workers that run nothing and hear nobody: one that is stopped, or stuck outside of any call.

What runs a call may be silent for as long as the call may take; the watchdog sees to it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from ipc.clock import now
from ipc.messages.lifeline import Ping
from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.names import WorkerName
    from supervisor.child import Worker

BEAT = 2.0
"""How often workers are asked whether they hear, seconds."""
SILENCE = 10.0
"""How long a worker may leave that unanswered, seconds."""


class Pulse:
    """Asks, and waits for answers. `workers` yields those there are."""

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        self._workers = workers
        self._silent: dict[WorkerName, float] = {}
        """Who was asked and has not answered, and since when that means something."""
        self._looked = -math.inf

    def heard(self, worker: Worker) -> None:
        """It answers."""
        if worker.name is not None:
            self._silent.pop(worker.name, None)

    async def take(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            self.look(now())
            await anyio.sleep(BEAT)

    def look(self, time: float) -> None:
        """Ask who has answered, and end who has not for too long."""
        away = time - self._looked > 2 * BEAT  # it was this process that heard nothing
        self._looked = time
        before, self._silent = self._silent, {}
        for worker in self._workers():
            name, ledger = worker.name, worker.ledger
            if worker.state is not State.UP or name is None or ledger is None:
                continue
            since = before.get(name)
            if since is None:
                worker.say(Ping())
            if since is None or away or ledger.due() < math.inf:
                since = time
            self._silent[name] = since
            if time - since > SILENCE:
                worker.overrun(f"it ran nothing and heard nothing for {time - since:.1f} s")
