"""The groups there are, and who looks after each.

A recycler has workers replaced in time, and a scaler has their number follow the load.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ipc.messages.settings import ExecSettings
from supervisor.figures import Sightings
from supervisor.recycler import Recycler
from supervisor.scaler import Scaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import TaskGroup

    from supervisor.child import Worker
    from supervisor.group import Group
    from supervisor.plan import GroupPlan, Plan, Role


class Roster:
    """At most one of each for a group; they look from `watch` on, those who come later from then on."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        """In the order in which they start."""
        self.sightings: defaultdict[str, Sightings] = defaultdict(Sightings)  # one for each group of the plan at most
        self.scalers: dict[str, Scaler] = {}
        self._recyclers: dict[str, Recycler] = {}
        self._tasks: TaskGroup | None = None

    def of(self, *roles: Role) -> Iterator[Worker]:
        """The workers of the groups that are for this."""
        for group in self.groups:
            if group.role in roles:
                yield from group.everybody()

    def watch(self, tasks: TaskGroup) -> None:
        """Have all look, until cancelled."""
        self._tasks = tasks
        for recycler in self._recyclers.values():
            tasks.start_soon(recycler.watch)
        for scaler in self.scalers.values():
            tasks.start_soon(scaler.watch)

    def add(self, group: Group, plan: GroupPlan) -> None:
        """A group more, before all others."""
        self.groups.insert(0, group)
        self.tend(group, plan)

    def arrange(self, plan: Plan) -> None:
        """Have the groups stand in this plan's order; first those it does not know, which others may still use."""
        places = {group.name: place for place, group in enumerate(plan.groups)}
        self.groups.sort(key=lambda group: places.get(group.name, -1))

    async def remove(self, group: Group, *, force: bool) -> None:
        """A group less, once nothing of it is left."""
        group.stop(force=force, why=f"{group.name} is gone from the configuration")
        await group.gone()
        self.groups.remove(group)
        self._recyclers.pop(group.name).end()
        if (scaler := self.scalers.pop(group.name, None)) is not None:
            scaler.end()
        self.sightings.pop(group.name, None)

    def tend(self, group: Group, plan: GroupPlan) -> None:
        """Have the group looked after as this plan says from now on."""
        self._recycle(group, plan)
        self._follow(group, plan)

    def _recycle(self, group: Group, plan: GroupPlan) -> None:
        known = self._recyclers.get(group.name)
        if known is not None and known.policy == plan.recycling:
            return
        if known is not None:
            known.end()
        self._recyclers[group.name] = recycler = Recycler(group, plan.recycling)
        if self._tasks is not None:
            self._tasks.start_soon(recycler.watch)

    def _follow(self, group: Group, plan: GroupPlan) -> None:
        slots = plan.settings.slots if isinstance(plan.settings, ExecSettings) else 1
        known, policy = self.scalers.get(group.name), plan.scaling
        if known is not None and (known.policy, known.slots) == (policy, slots):
            return
        if known is not None:
            self.scalers.pop(group.name).end()
        if policy is not None:
            self.scalers[group.name] = scaler = Scaler(group, policy, slots, self.sightings[group.name])
            if self._tasks is not None:
                self._tasks.start_soon(scaler.watch)
