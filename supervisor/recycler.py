"""Looks at what the workers of a group use, and has done what `recycling` decides about it. Decides nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from zlib import crc32

import anyio

from supervisor.events import Trouble
from supervisor.life import State
from supervisor.recycling import LOOK_EVERY, RETRY_AFTER, Used
from supervisor.restart import recycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor.child import Worker
    from supervisor.group import Group
    from supervisor.recycling import Recycling, Verdict

_LOOKED_AT = frozenset({State.STARTING, State.UP, State.DRAINING})


class Recycler:
    """Of one group. At most one of its workers is replaced at a time, whoever asks for it."""

    def __init__(self, group: Group, policy: Recycling) -> None:
        self._group = group
        self.policy = policy
        self._scope = anyio.CancelScope()
        self._salt = os.urandom(8)
        self._busy = False
        self._quiet_until = 0.0
        self._complained = False

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        if not self.policy:
            return
        with self._scope:
            await self._watch()

    def end(self) -> None:
        """Look no more."""
        self._scope.cancel()

    async def _watch(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep(LOOK_EVERY)
                workers = {str(worker.name): worker for worker in self._group.everybody() if worker.state in _LOOKED_AT}
                used = list(self._used(workers.values()))
                self._complain(used)
                for doomed in self.policy.to_kill(used):
                    workers[doomed.name].condemn(doomed.why)
                if self._busy or time.monotonic() < self._quiet_until:
                    continue
                if (verdict := self.policy.to_replace(used)) is not None and self._group.serves:
                    self._busy = True
                    tasks.start_soon(self._replace, workers[verdict.name], verdict)

    def _complain(self, used: Iterable[Used]) -> None:
        """Say once that nobody is watched, for then a bound is none."""
        blind = self.policy.max_memory is not None and any(one.seated and not one.memory for one in used)
        if blind and not self._complained:
            self._complained = True
            told = f"{self._group.name}: max_memory is without effect, for /proc does not tell what workers have"
            self._group.tell(Trouble(f"{told}; mount it without hidepid"))

    async def _replace(self, worker: Worker, verdict: Verdict) -> None:
        try:
            why = await recycle(self._group, worker, verdict.why)
        finally:
            self._busy = False
        if why is not None and self._group.serves:
            self._quiet_until = time.monotonic() + RETRY_AFTER
            told = f"{verdict.name} stays: its successor did not come up ({why}); again in {RETRY_AFTER:g} s"
            self._group.tell(Trouble(told))

    def _used(self, workers: Iterable[Worker]) -> Iterator[Used]:
        for worker in workers:
            name = str(worker.name)
            calls, memory = worker.used
            dice = crc32(name.encode(), crc32(self._salt)) / 2**32
            yield Used(name, calls, memory, dice, seated=self._group.seats(worker))
