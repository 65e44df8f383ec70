"""From one plan to the next in a service that runs: first everything new is tried out, then group after group changes.

Until one worker of each changed group is up nothing that serves is touched, so that a version which cannot start in any
group leaves the one before as it was.

Then nobody may be without somebody who understands him. Groups of nodes go first if they understand the web workers of
the version before. If they do not, but those before understand the new ones, they go last. If neither is so, half goes
first: new web workers call that, old ones the other half. Of groups that do not go first one worker stays until the
last old web worker has ended; all do where some were left from an earlier change, for one of those would be no help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from supervisor.changeover import Changeover
from supervisor.errors import Stopping
from supervisor.resizing import resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.difference import Change, Difference
    from supervisor.editions import Editions
    from supervisor.errors import SpawnError
    from supervisor.group import Group
    from supervisor.plan import GroupPlan, Plan
    from supervisor.service import Service

    Progress = Callable[[str], None]


class Rollout:
    """Of one plan, once."""

    def __init__(self, service: Service, plan: Plan, difference: Difference, progress: Progress) -> None:
        self._service = service
        self._plan = plan
        self._plans: dict[str, GroupPlan] = {group.name: group for group in plan.groups}
        self._difference = difference
        self._progress = progress
        self._added: list[Group] = []
        self._tried: list[Changeover] = []
        self.committed = False
        """Whether the plan has been taken over."""

    async def go(self) -> SpawnError | None:
        """Carry it out; returns why not, or why not all of it, if so."""
        service, found = self._service, self._difference
        changing = found.of("changed", "added")
        before, editions = service.ran, service.editions
        service.renew(self._plan)
        service.reach.begin(self._plan.groups, changing, service.editions.number, found.before_do, found.after_do)
        taken = False
        try:
            why = await self._try()
            if why is None:
                why = next((failed for tried in self._tried if (failed := tried.failure) is not None), None)
            taken = why is None
        finally:
            if not taken:
                with anyio.CancelScope(shield=True):
                    await self._give_up(before, editions)
        if why is not None:
            return why
        for tried in self._tried:
            tried.commit()
        service.plan, self.committed = self._plan, True
        for name in self._plans:
            service.left.pop(name, None)
        service.roster.arrange(self._plan)
        if before.rotate_every != self._plan.rotate_every:
            service.renewal.count_anew()
        service.reach.decide()
        service.announce()
        why = await self._roll()
        await self._leave(before, failed=why is not None)
        if why is None:
            service.reach.end(self._plan.groups)
            service.announce()
        return why

    async def _try(self) -> SpawnError | None:
        """Everything that is new, beside what serves: in the order in which groups start."""
        for change in self._difference.changes:
            if self._service.tree.stop_asked.is_set():
                return Stopping()
            if change.kind == "added":
                group = self._service.add(self._plans[change.group])
                self._service.roster.arrange(self._plan)
                self._added.append(group)
                why = await group.start()
            elif change.kind == "changed":
                group = self._service.tree.group(change.group)
                tried = Changeover(group, self._service.editions.of(self._plans[change.group]), self._progress)
                self._tried.append(tried)
                why = await tried.try_out()
            else:
                continue
            if why is not None:
                return why
        return None

    async def _give_up(self, before: Plan, editions: Editions) -> None:
        """Everything is as it was before."""
        self._service.editions = editions
        editions.share_pipes()
        for tried in self._tried:
            await tried.discard()
        for group in self._added:
            await self._service.roster.remove(group, force=True)
        self._service.roster.arrange(before)
        self._service.reach.undo()

    async def _roll(self) -> SpawnError | None:
        """Each group in its turn; a seat that nobody can be had for keeps no other from being given."""
        failures = []
        web = [tried for tried in self._tried if tried.group.role == "web"]
        others = [tried for tried in self._tried if tried.group.role != "web"]
        parted = [tried for tried in others if web and self._parts(tried.group)]
        try:
            for tried in others:
                late = tried in parted
                first = self._first(tried) if late else None
                failures.append(await tried.roll(end=first, keep=late))
                if not late:
                    tried.give_back()
            for tried in web:
                failures.append(await tried.roll())
                tried.give_back()
            for tried in parted:
                if tried.mixed:  # whoever is kept may be nobody's like: all are, until nobody is left who needs one
                    await self._part(web)
                failures.append(await tried.roll(self._first(tried), keep=not tried.mixed))
                tried.give_back()
            failures += [await self._adjust(change) for change in self._difference.changes]
        finally:
            if parted:
                await self._part(web)
            for tried in (*web, *others):
                await tried.finish()
        return next((why for why in failures if why is not None), None)

    async def _part(self, web: list[Changeover]) -> None:
        """Wait for the last old web worker: from then on nobody needs whom only those understand."""
        for tried in web:
            await tried.finish()
        self._service.reach.part()
        self._service.announce()

    def _parts(self, group: Group) -> bool:
        """Whether old web workers need old workers of it to the end."""
        return group.role == "exec" and group.name not in self._difference.after_do

    def _first(self, tried: Changeover) -> int:
        """How many of the seats of such a group are given before those of web workers."""
        waits = tried.mixed or tried.group.name in self._difference.before_do
        return 0 if waits else (len(tried.group.seated) + 1) // 2

    async def _adjust(self, change: Change) -> SpawnError | None:
        """Have a group that goes on do what the supervisor alone does with it."""
        if change.kind in {"removed", "added"}:
            return None
        group, plan = self._service.tree.group(change.group), self._plans[change.group]
        group.allow(plan)
        self._service.roster.tend(group, plan)
        after = change.workers[1] if plan.scaling is None else plan.scaling.within(group.size)
        why = await resize(group, after, self._progress) if after != group.size else None
        if group.recover():
            self._progress(f"{group.name}: is started again")
        return why

    async def _leave(self, before: Plan, *, failed: bool) -> None:
        """Have the groups end that the plan does not have, unless workers stay that may call them."""
        plans = {group.name: group for group in before.groups}
        for name in self._difference.of("removed"):
            if failed:
                self._service.left[name] = plans[name]
                self._progress(f"{name}: stays for now: workers of the version before may call it")
            else:
                await self._service.roster.remove(self._service.tree.group(name), force=False)
                self._service.left.pop(name, None)
