"""What runs: the plan in force, the groups it has, and what they have in common.

Groups are made here and stand in the `roster`. What becomes of their workers comes back here, and is passed on to whom
it concerns: `_refresh` when one's state is new, `_heard` when it says something, `_buried` or `_lost` when it is dead.
What can be asked from outside is in `orders`, and a `rollout` takes all this from one plan to the next.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ipc.messages.errand import Answered
from ipc.messages.lifeline import Abandoned, Ended, Quarantined, Seen, Suspected
from supervisor import sockets, statedir
from supervisor.editions import Common, Editions
from supervisor.errands import Errands
from supervisor.events import Serving
from supervisor.group import Group
from supervisor.keys import Keys
from supervisor.life import RUNNING
from supervisor.oom import OutOfMemory
from supervisor.origins import Origins
from supervisor.peers import Directory
from supervisor.plan import LINKS
from supervisor.process_group import WEB
from supervisor.pulse import Pulse
from supervisor.quarantine import SECONDS, Quarantine
from supervisor.reach import Reach
from supervisor.reload import Reloads, reload
from supervisor.renewal import Renewal
from supervisor.roster import Roster
from supervisor.tree import Tree
from supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from ipc.ledger import Begun
    from ipc.messages.control import Done, Refused
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from supervisor.cgroups import Cgroups
    from supervisor.child import Worker
    from supervisor.hub import Hub
    from supervisor.plan import GroupPlan, Plan, Role
    from supervisor.policy import RestartPolicy
    from supervisor.warden import Warden


class Service:
    """Makes the parts, and has them know of each other what they must."""

    def __init__(
        self,
        plan: Plan,
        hub: Hub,
        listener: socket.socket | None,
        programs: Mapping[Role, str],
        policy: RestartPolicy | None,
        load: Callable[[], Plan] | None = None,
        warden: Warden | None = None,
        cgroups: Cgroups | None = None,
    ) -> None:
        self.hub = hub
        self.plan = plan
        """The one in force."""
        self._listener = listener
        self._keys = Keys(plan.secret)
        self._policy = policy
        self.roster = Roster()
        self.left: dict[str, GroupPlan] = {}
        """Groups that the plan in force does not have, kept for workers of the version before who call them."""
        self.reach = reach = Reach(plan.groups)
        self.renewal = Renewal(
            self._keys, lambda: self.roster.of("exec"), self._callers, hub.tell, plan.limits.ttl, reach
        )
        rotation = self.renewal.rotation
        self._directory = Directory(self._keys, rotation, lambda: self.roster.of("exec"), self._callers, reach)
        self.renewal.announce = self._directory.refresh
        self.watchdog = Watchdog(lambda: self.roster.of("exec"))
        self.pulse = Pulse(lambda: self.roster.of("exec", "web"))
        self.errands = Errands(lambda: self.roster.of("web"), lambda: [node.name for node in self.plan.described.nodes])
        self.origins = Origins(lambda: self.roster.groups, lambda: self.plan)
        self._quarantine = Quarantine()
        self.out_of_memory = OutOfMemory()
        self.common = Common(
            self._keys,
            rotation,
            self._directory,
            reach,
            self._quarantine,
            hub.tell,
            programs,
            listener,
            warden,
            out_of_memory=self.out_of_memory,
            cgroups=cgroups,
        )
        self._number = 0
        self.editions = Editions(plan, self.common, self._number)
        """What makes the workers of the plan in force, or of the one that is tried out."""
        for each in reversed([group for group in plan.groups if not group.embedded]):
            self.add(each)
        self._load = load
        self.reloads = Reloads(self._reload)
        self.tree = Tree(self.roster.groups, hub.tell)

    def serving(self, seconds: float) -> Serving:
        """What is said once everything is up."""
        port = 0 if self._listener is None else sockets.port_of(self._listener)
        return Serving(self.plan.host, port, seconds)

    def close_listener(self) -> None:
        """Take no new connections, as far as it depends on this process: the web workers close theirs."""
        if self._listener is not None:
            self._listener.close()

    async def _reload(self, progress: Callable[[str], None]) -> Done | Refused:
        return await reload(self, self._load, progress)

    def _callers(self) -> Iterator[Worker]:
        """Everybody who calls exec workers: every web worker, and those that send pipelines' calls on."""
        for group in self.roster.groups:
            if self.reach.dials(group.name):
                yield from group.everybody()

    def renew(self, plan: Plan) -> None:
        """Make workers from this plan from now on."""
        self._number += 1
        self.editions = Editions(plan, self.common, self._number)

    def add(self, plan: GroupPlan) -> Group:
        """A group more, before all others; not started yet."""
        group = self._group(plan)
        self.roster.add(group, plan)
        return group

    @property
    def ran(self) -> Plan:
        """The plan in force, and with it the groups that were to go and are still called."""
        return replace(self.plan, groups=(*self.left.values(), *self.plan.groups))

    def announce(self) -> None:
        """Tell those who call whom they may call now."""
        self._directory.refresh(anyhow=True)

    def _group(self, plan: GroupPlan) -> Group:
        edition = self.editions.of(plan)
        return Group(
            plan,
            launch=edition.launch,
            greeting=edition.greeting,
            refresh=self._refresh,
            tell=self.hub.tell,
            heard=self._heard,
            buried=self._buried if plan.role == "exec" else self._lost,
            policy=self._policy,
            template=edition.template,
        )

    def _heard(self, worker: Worker, message: FromChild) -> None:
        """A worker said something that is not about its own life."""
        match message:
            case Seen(group):
                if worker.name is not None and self.reach.sees(worker.name.group, group):
                    self.roster.sightings[group].add(str(worker.name), message, time.monotonic())
            case Answered():
                self.errands.heard(worker, message)
            case Abandoned() | Suspected() if worker.name is None or worker.name.group != WEB:
                pass  # it could have others' calls refused or ended
            case Abandoned(server, call_id):
                self.watchdog.abandon(server, call_id)
            case Suspected(node, mark):
                if self._quarantine.suspect(node, mark, time.monotonic()):
                    self._tell_callers(Quarantined(node, mark, SECONDS))
            case _:
                self.renewal.heard(worker, message)

    def _buried(self, worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        """An exec worker's process is dead: whoever waits for its answers is told which calls it had begun."""
        if worker.name is not None:
            self.reach.died(worker.name)
            self._tell_callers(Ended(str(worker.name), begun.ids, begun.since, suspects))

    def _lost(self, worker: Worker, _begun: Begun, _suspects: tuple[bytes, ...]) -> None:
        """A web worker's process is dead. Its clients' connections are gone with it; operators are told."""
        if worker.name is not None:
            self.reach.died(worker.name)
        self.errands.lost(worker)

    def _tell_callers(self, message: FromSupervisor) -> None:
        for worker in self._callers():
            worker.say(message)

    def _refresh(self) -> None:
        """A worker's state is new."""
        self._directory.refresh()
        self.renewal.look()
        self.origins.look()
        if self.plan.transport == "unix":
            running = (worker.name for worker in self.roster.of("exec") if worker.state in RUNNING)
            statedir.sweep(self.plan.state_dir / LINKS, {name.socket for name in running if name is not None})
