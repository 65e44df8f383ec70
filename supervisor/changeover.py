"""From one edition of a group to the next, in steps, for other groups go along: all try theirs before any goes on.

    try_out ──> discard                     the group is as it was
       └──────> commit ──> roll, some seats at a time ──> give_back ──> finish  it is of the new edition

The turn is had until `discard` or `give_back`, so all of it is done by one task, and nobody else's worker is replaced
meanwhile. The group has two nurseries to the end: until `commit` the one on trial is beside its own, afterwards that of
the edition before is beside the new one, until it has ended. Predecessors are leaving, and `finish` waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.edition import Trial, on_trial
from supervisor.errors import SpawnError
from supervisor.life import RUNNING
from supervisor.succession import Succession, try_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker
    from supervisor.edition import Edition
    from supervisor.group import Group


class Changeover:
    """Of one group, once."""

    def __init__(self, group: Group, edition: Edition, progress: Callable[[str], None]) -> None:
        self.group = group
        self._edition = edition
        self._progress = progress
        self._spec = group.spec_of(edition.plan)
        self.mixed = group.behind
        """Whether nobody knows which of its workers are of the version in force, and which are older."""
        self._trial = Trial(edition, self._spec, group.seat(0), group, group.ring, group.until)
        self._has_turn = False
        self._failed = False
        self._kept: Worker | None = None
        self._leaving: list[Worker] = []

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

    async def roll(self, first: int = 0, end: int | None = None, *, keep: bool = False) -> SpawnError | None:
        """Give these seats to successors; returns why one could not have it. The rest goes on.

        `keep` the last predecessor of the group: it goes on, in no seat, until `finish`.
        """
        group, failures = self.group, list[SpawnError]()
        succession = Succession(group, "reloaded", self._progress)
        group.all_anew = True
        slots = range(len(group.seated))
        for slot in slots[first:end]:
            predecessor, kept = group.seated[slot], keep and slot == slots[-1]
            if (why := await succession.of(slot, self._tried(slot), keep=kept)) is not None:
                failures.append(why)
            elif kept:
                self._kept = predecessor
            if slot == 0:
                self._trial.end()
            if not kept:
                await succession.overlap()
        self._failed = self._failed or bool(failures)
        return failures[0] if failures else None

    def _tried(self, slot: int) -> Worker | None:
        """Who was tried out for this seat, and still is up."""
        group, worker = self.group, self._trial.worker
        if slot != 0 or worker not in group.beside:
            return None
        if self._trial.is_up:
            return worker
        worker.retire()  # it ended while others were tried out
        group.leaving.append(worker)
        return None

    def give_back(self) -> None:
        """The seats are given: others may change the group while predecessors finish what they have begun."""
        if self._has_turn:
            group = self.group
            group.behind, group.all_anew = self._failed, False
            self._leaving, group.leaving = group.leaving, []
            self._has_turn = False
            group.turn.release()

    async def finish(self) -> None:
        """Wait until nobody is left of the edition before: who was kept leaves now."""
        group = self.group
        self.give_back()
        if self._kept is not None:
            self._progress(f"{self._kept.name} drains")
            self._kept.retire()
        await group.until(lambda: not any(nursery.is_running for nursery in group.nurseries[1:]))
        del group.nurseries[1:]
        await group.part_from(self._leaving)

    def _end(self) -> None:
        self._has_turn = False
        del self.group.nurseries[1:]
        self.group.turn.release()
