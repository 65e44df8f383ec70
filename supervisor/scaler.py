"""Looks at how long calls of a group wait, and has it resized as `scaling` decides. Decides nothing."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from supervisor.events import Trouble
from supervisor.resizing import resize
from supervisor.scaling import DOWN_AFTER, Course, Look, decide

if TYPE_CHECKING:
    from supervisor.figures import Sightings
    from supervisor.group import Group
    from supervisor.scaling import Scaling

LOOK_EVERY = 0.5
"""Between looks, seconds."""
SPAN = 3.0
"""What counts as a moment ago, seconds."""
STEADY = 15.0
"""What counts as a longer time, seconds."""
MOST_WAIT = 0.9
"""The part of the calls whose waits are held against the target."""
RETRY_AFTER = 30.0
"""The pause after a newcomer that did not come up, seconds."""


class Scaler:
    """Of one group, whose workers run `slots` calls at once each."""

    def __init__(self, group: Group, policy: Scaling, slots: int, sightings: Sightings) -> None:
        self.policy = policy
        self.slots = slots
        self._group, self._sightings = group, sightings
        self._scope = anyio.CancelScope()
        self._course = Course()
        self._quiet_until = 0.0
        self._asked: int | None = None
        self._growing = False
        self._busy: deque[float] = deque(maxlen=int(STEADY / LOOK_EVERY))

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                while True:
                    await anyio.sleep(LOOK_EVERY)
                    size, wanted = self._group.size, self._look(time.monotonic())
                    if wanted != size:
                        self._asked, self._growing = wanted, wanted > size
                        tasks.start_soon(self._resize, size, wanted)

    def end(self) -> None:
        """Look no more."""
        self._scope.cancel()

    def hold(self) -> None:
        """Somebody else has decided: leave it at that for a while."""
        self._quiet_until = time.monotonic() + DOWN_AFTER
        self._course = Course(changed=time.monotonic())

    def _look(self, now: float) -> int:
        size = self._group.size
        workers = [worker for worker in self._group.everybody() if self._group.seats(worker)]
        if workers:
            running = sum(min(worker.counts()[1], self.slots) for worker in workers)
            self._busy.append(running / (self.slots * len(workers)))
        # Who leaves is not waited for, but the turn to tell it so is.
        waits = self._growing or self._asked not in {None, size}
        if waits or not self._group.serves or now < self._quiet_until or not self._busy:
            return size
        lately = list(self._busy)[-int(SPAN / LOOK_EVERY) :]
        wait = self._sightings.wait(MOST_WAIT, SPAN, now)
        look = Look(size, wait, sum(lately) / len(lately), sum(self._busy) / len(self._busy))
        wanted, self._course = decide(self.policy, self._course, look, now)
        return wanted

    async def _resize(self, size: int, wanted: int) -> None:
        group = self._group
        wait = self._sightings.wait(MOST_WAIT, SPAN, time.monotonic())
        reason = f"calls wait {wait * 1000:.0f} ms" if wanted > size else "fewer are enough"

        def still() -> bool:  # it may have waited for its turn while somebody else decided
            return not self._scope.cancel_called and group.size == size and time.monotonic() >= self._quiet_until

        try:
            with anyio.CancelScope(shield=True):  # half done, there would be workers in no seat
                why = await resize(group, wanted, lambda _told: None, reason, still)
        finally:
            self._asked = None
            if wanted > size:
                self._growing = False
                self._course = replace(self._course, changed=time.monotonic())
        if why is not None and group.serves:
            self._quiet_until = time.monotonic() + RETRY_AFTER
            told = f"{group.name} stays at {group.size} workers: a new one did not come up ({why})"
            group.tell(Trouble(f"{told}; again in {RETRY_AFTER:g} s"))
