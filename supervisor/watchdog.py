"""Ends workers whose calls do not end by themselves. It reads their ledgers and asks nobody, so nothing can fool it."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ipc.clock import now
from supervisor.life import State
from supervisor.ration import Ration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.ledger import Ledger, Running
    from supervisor.child import Worker

LOOK = 0.2
"""The longest pause between two looks at all ledgers, seconds. No call can be due earlier than its grace after that."""
LEAST_PAUSE = 0.01
AWAY = 2.0
"""What a longer pause means, seconds: this process was stopped, and perhaps its workers with it, whose calls then have
a moment to end by themselves."""
MAX_ABANDONED = 4096
"""Calls that are remembered as abandoned at once; beyond it the oldest has its deadline, as ever."""
FORGOTTEN = 5.0
"""How long after its grace an abandoned call is remembered: it may wait for its turn, or for a ration; seconds."""
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
        self._ration = Ration()
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
            looked = now()
            with anyio.move_on_after(min(max(pause, LEAST_PAUSE), LOOK)):
                await self._bell.wait()
            if now() - looked > AWAY:
                await anyio.sleep(LOOK)

    def look(self, time: float) -> float:
        """End who is overdue; returns when somebody will be next, as far as is known now."""
        soonest, remembered = math.inf, set[Abandoned]()
        workers = list(self._workers())
        for worker in workers:
            ledger = worker.ledger
            if ledger is None or worker.state not in _WATCHED:
                continue
            # Rows are read only where something is due or has been abandoned: most looks cost one word a row.
            due = ledger.due()
            if due > time and not self._abandoned:
                soonest = min(soonest, due)
                continue
            calls = list(ledger.running())
            overdue = min((call for call in calls if call.kill_at <= time), key=_kill_at, default=None)
            if overdue is not None:
                worker.overrun(_in_words(overdue, time, "its time was over"), partial(_still_due, ledger))
                continue
            soonest = min(soonest, due)
            left = [(since, call) for call in calls if (since := self._since(worker, call, time)) is not None]
            remembered |= {Abandoned(str(worker.name), call.call_id) for _, call in left}
            if left and len(calls) == 1:  # who runs beside it has done nothing: then its deadline ends it
                since, call = left[0]
                if since + call.cancel_grace > time:
                    soonest = min(soonest, since + call.cancel_grace)
                elif self._may_end(worker, workers, call.kill_at, time):
                    why = _in_words(call, time, "its caller had left")
                    worker.overrun(why, partial(_still_due, ledger, call.call_id))
        for each, since in list(self._abandoned.items()):
            if time - since > FORGOTTEN and each not in remembered:
                del self._abandoned[each]
        return soonest

    def _since(self, worker: Worker, call: Running, time: float) -> float | None:
        """Since when nobody waits for a call, if that matters to its node and was not too long ago."""
        since = self._abandoned.get(Abandoned(str(worker.name), call.call_id))
        if since is None or not time - since <= call.cancel_grace + FORGOTTEN < math.inf:
            return None
        return since

    def _may_end(self, worker: Worker, workers: list[Worker], until: float, time: float) -> bool:
        """Whether a group gains by it. Callers who leave must not take down what serves the others.

        The only one that is up is ended if another is there sooner than its call has to end anyway, `until`.
        """
        assert worker.name is not None  # noqa: S101 - it has a process
        group = worker.name.group
        peers = [each for each in workers if each.name is not None and each.name.group == group]
        spared = worker.state is not State.UP or any(each.state is State.UP for each in peers if each is not worker)
        gains = spared or until - time > worker.start_took
        return gains and self._ration.take(group, len(peers), time)


def _kill_at(call: Running) -> float:
    return call.kill_at


def _still_due(ledger: Ledger, abandoned: bytes | None = None) -> bool:
    """Whether a worker that was to be ended has to be: a call's time is over, or it runs just the one that is named."""
    return ledger.due() <= now() or [call.call_id for call in ledger.running()] == [abandoned]


def _in_words(call: Running, time: float, what: str) -> str:
    return f"a call still ran after {time - call.since:.2f} s, though {what}"
