"""From one edition of a group to the next, in steps, for other groups go along: all try theirs before any goes on.

    try_out ──> discard                     the group is as it was
       └──────> commit ──> roll ──> finish  the group is of the new edition

The turn is had from `try_out` to the end, so all of it is done by one task, and nobody else's worker is replaced
meanwhile. The group has two nurseries for that time: until `commit` the one on trial is beside its own, afterwards that
of the edition before is beside the new one, until it has ended. Predecessors are leaving, and `finish` waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.edition import Trial, on_trial
from supervisor.errors import SpawnError
from supervisor.life import RUNNING
from supervisor.succession import Succession, try_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.edition import Edition
    from supervisor.group import Group


class Changeover:
    """Of one group, once."""

    def __init__(self, group: Group, edition: Edition, progress: Callable[[str], None]) -> None:
        self.group = group
        self._edition = edition
        self._progress = progress
        self._spec = group.spec_of(edition.plan)
        self._trial = Trial(edition, self._spec, group.seat(0), group, group.ring, group.until)
        self._has_turn = False

    async def try_out(self) -> SpawnError | None:
        """Have one worker of the edition up beside the others; returns why not, if so.

        What could not be beside the others cannot be tried out.
        """
        group, trial = self.group, self._trial
        group.queue(self._progress)
        await group.turn.acquire()
        self._has_turn = True
        group.nurseries.append(trial.nursery)
        if group.over is not None:
            return group.over
        if self._edition.plan.in_place:
            return None
        if (why := await trial.nursery.renew(on_trial(self._spec))) is not None:
            return why
        await trial.nursery.keep(new=True)
        return await try_out(group, trial.worker)

    async def discard(self) -> None:
        """End what `try_out` began, if it has."""
        if not self._has_turn:
            return
        group, trial = self.group, self._trial
        try:
            trial.nursery.stop()
            trial.worker.stop(force=True)
            await group.until(lambda: trial.worker.state not in RUNNING and not trial.nursery.is_running)
            if trial.worker in group.beside:
                group.beside.remove(trial.worker)
        finally:
            self._end()

    @property
    def failure(self) -> SpawnError | None:
        """Why the edition on trial cannot be had any more; None while it can."""
        trial = self._trial
        return None if trial.is_up or self._edition.plan.in_place else trial.worker.failure()

    def commit(self) -> None:
        """The edition on trial is the group's from now on."""
        former = self.group.nursery
        self.group.adopt(self._edition)
        former.stop()

    async def roll(self) -> SpawnError | None:
        """Give each seat to a successor; returns why one could not have it. The rest goes on."""
        group, trial, failures = self.group, self._trial, list[SpawnError]()
        succession = Succession(group, "reloaded", self._progress)
        group.all_anew = True
        if trial.worker in group.beside and not trial.is_up:  # it ended while others were tried out
            trial.worker.retire()
            group.leaving.append(trial.worker)
        for slot in range(len(group.seated)):
            tried = trial.worker if slot == 0 and trial.is_up else None
            if (why := await succession.of(slot, tried)) is not None:
                failures.append(why)
            await succession.overlap()
        group.behind = bool(failures)
        return failures[0] if failures else None

    async def finish(self) -> None:
        """Wait until nobody is left of the edition before."""
        group = self.group
        try:
            await group.until(lambda: not any(nursery.is_running for nursery in group.nurseries[1:]))
            await group.part_from(group.leaving)
        finally:
            group.all_anew = False
            self._end()

    def _end(self) -> None:
        self._has_turn = False
        del self.group.nurseries[1:]
        self.group.turn.release()
