"""Ends workers whose event loop stands still: stopped, or stuck in what should have been quick.

A worker's loop notes in its page that it turns, so nobody is asked and nothing is waited for. What runs a call may keep
the interpreter for as long as the call may take: then nothing is noted, and the watchdog sees to it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import anyio

from ipc.beat import BEAT
from ipc.clock import now
from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.names import WorkerName
    from supervisor.child import Worker

LOOK = 0.5
"""How often workers are looked at, seconds."""
AWAY = 4 * LOOK
"""What more than this between two looks means: this process was stopped, and perhaps all others with it; seconds."""


class Pulse:
    """Looks at the workers that `workers` yields."""

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        self._workers = workers
        self._excused: dict[WorkerName, float] = {}
        """Who had a reason to be silent, and when last."""
        self._looked = -math.inf

    async def take(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look(now())
            await anyio.sleep(LOOK)

    def look(self, time: float) -> None:
        """End who has stood still for too long."""
        away = time - self._looked > AWAY
        self._looked = time
        before, self._excused = self._excused, {}
        for worker in self._workers():
            name, ledger, turned = worker.name, worker.ledger, worker.turned
            if worker.state is not State.UP or name is None or ledger is None or time - turned <= 2 * BEAT:
                continue
            excused = time if away or ledger.due() < math.inf else before.get(name, turned)
            self._excused[name] = excused
            since = max(turned, excused)
            if time - since > worker.life.spec.hung_timeout + BEAT:  # the last beat may have been so long before
                why = f"its event loop stood still for {time - since:.1f} s"
                worker.overrun(why, partial(_stands_still, worker, turned), hung=True)


def _stands_still(worker: Worker, turned: float) -> bool:
    return worker.turned <= turned
