"""Ends workers whose calls do not end by themselves. It reads their ledgers and asks nobody, so nothing can fool it."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ipc.clock import now
from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.ledger import Running
    from supervisor.child import Worker

LOOK = 0.2
"""The longest pause between two looks at all ledgers, seconds. No call can be due earlier than its grace after that."""
LEAST_PAUSE = 0.01
MAX_ABANDONED = 4096
"""Calls that are remembered as abandoned at once; beyond it the oldest has its deadline, as ever."""
FORGOTTEN = 5.0
"""How long after its grace an abandoned call is remembered: it may have to wait for its turn, seconds."""
_WATCHED = frozenset({State.UP, State.DRAINING})


class Abandoned(NamedTuple):
    """A call nobody waits for, and since when."""

    server: str
    call_id: bytes


class Watchdog:
    """Looks at the exec workers' ledgers. `workers` yields those there are."""

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        self._workers = workers
        self._abandoned: OrderedDict[Abandoned, float] = OrderedDict()
        self._bell = anyio.Event()

    def abandon(self, server: str, call_id: bytes) -> None:
        """Nobody waits for this call any more, and its worker has not said that it is over."""
        self._abandoned[Abandoned(server, call_id)] = now()
        if len(self._abandoned) > MAX_ABANDONED:
            self._abandoned.popitem(last=False)
        bell, self._bell = self._bell, anyio.Event()
        bell.set()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            pause = self.look(now()) - now()
            with anyio.move_on_after(min(max(pause, LEAST_PAUSE), LOOK)):
                await self._bell.wait()

    def look(self, time: float) -> float:
        """End who is overdue; returns when somebody will be next, as far as is known now."""
        for left, since in list(self._abandoned.items()):
            if time - since > FORGOTTEN:
                del self._abandoned[left]
        soonest = math.inf
        for worker in self._workers():
            ledger = worker.ledger
            if ledger is None or worker.state not in _WATCHED:
                continue
            # Rows are read only where something is due or has been abandoned: most looks cost one word a row.
            due = ledger.due()
            if due > time and not self._abandoned:
                soonest = min(soonest, due)
                continue
            calls = [(self._due(str(worker.name), call), call) for call in ledger.running()]
            if calls and (first := min(calls))[0] <= time:
                worker.overrun(_in_words(first[1], time))
            elif calls:
                soonest = min(soonest, min(calls)[0])
        return soonest

    def _due(self, server: str, call: Running) -> float:
        left = self._abandoned.get(Abandoned(server, call.call_id))
        return call.kill_at if left is None else min(call.kill_at, left + call.cancel_grace)


def _in_words(call: Running, time: float) -> str:
    what = "its time was over" if call.kill_at <= time else "its caller had left"
    return f"a call still ran after {time - call.since:.2f} s, though {what}"
