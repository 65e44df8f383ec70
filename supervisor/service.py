"""What runs, and what can be asked of it: the groups, and what they have in common."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from ipc.hints import suggest
from ipc.messages.control import Done, Refused, Status, SupervisorStatus
from ipc.messages.errand import Answered
from ipc.messages.lifeline import Abandoned, Ended, Quarantined, Seen, Suspected
from ipc.messages.settings import CommandSettings, ExecSettings
from supervisor import sockets, statedir
from supervisor.description import AT_WORK
from supervisor.editions import Common, Editions
from supervisor.errands import Errands
from supervisor.events import Serving
from supervisor.figures import Sightings
from supervisor.group import Group
from supervisor.hosted import hosted
from supervisor.hub import Hub, in_words
from supervisor.keys import Keys
from supervisor.life import RUNNING
from supervisor.one_worker import restart_worker
from supervisor.oom import OutOfMemory
from supervisor.origins import Origins
from supervisor.peers import Directory
from supervisor.plan import LINKS
from supervisor.probe import most_seats
from supervisor.process_group import MAX_WORKERS, WEB
from supervisor.pulse import Pulse
from supervisor.quarantine import SECONDS, Quarantine
from supervisor.reach import Reach
from supervisor.recycler import Recycler
from supervisor.reload import Reloads, reload
from supervisor.renewal import Renewal
from supervisor.scaler import Scaler
from supervisor.tree import Tree
from supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator, Mapping

    from anyio.abc import TaskGroup

    from ipc.ledger import Begun
    from ipc.messages.control import Called, CallNode, GroupStatus
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from supervisor.child import Worker
    from supervisor.plan import GroupPlan, Plan, Role
    from supervisor.policy import RestartPolicy
    from supervisor.warden import Warden


class Service:
    """What the parts have in common, and what the control socket asks."""

    def __init__(
        self,
        plan: Plan,
        hub: Hub,
        listener: socket.socket | None,
        programs: Mapping[Role, str],
        policy: RestartPolicy | None,
        version: str,
        load: Callable[[], Plan] | None = None,
        warden: Warden | None = None,
    ) -> None:
        self.hub = hub
        self.plan = plan
        """The one in force."""
        self.tasks: TaskGroup | None = None
        """What runs beside the groups, while they run."""
        self._listener = listener
        self._version = version
        self._since = time.time()
        self._keys = Keys(plan.secret)
        self._policy = policy
        self._groups: list[Group] = []
        self.left: dict[str, GroupPlan] = {}
        """Groups that the plan in force does not have, kept for workers of the version before who call them."""
        self._sightings: defaultdict[str, Sightings] = defaultdict(Sightings)  # one for each group of the plan at most
        self._recyclers: dict[str, Recycler] = {}
        self._scalers: dict[str, Scaler] = {}
        self.reach = reach = Reach(plan.groups)
        self.renewal = Renewal(self._keys, lambda: self._of("exec"), self._callers, hub.tell, plan.limits.ttl, reach)
        rotation = self.renewal.rotation
        self._directory = Directory(self._keys, rotation, lambda: self._of("exec"), self._callers, reach)
        self.renewal.announce = self._directory.refresh
        self.watchdog = Watchdog(lambda: self._of("exec"))
        self.pulse = Pulse(lambda: self._of("exec", "web"))
        self.errands = Errands(lambda: self._of("web"), lambda: [node.name for node in self.plan.described.nodes])
        self.origins = Origins(lambda: self._groups, lambda: self.plan)
        self._quarantine = Quarantine()
        self.out_of_memory = OutOfMemory()
        self._common = Common(
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
        )
        self._number = 0
        self.editions = Editions(plan, self._common, self._number)
        """What makes the workers of the plan in force, or of the one that is tried out."""
        for each in reversed([group for group in plan.groups if not group.embedded]):
            self.add(each)
        self._load = load
        self.reloads = Reloads(self._reload)
        self.tree = Tree(self._groups, hub.tell)

    def prepare(self) -> None:
        """Make the processes of all first lives at once: while those of one group start, the next one's import."""
        self.editions.prepare()

    def discard(self) -> None:
        """End what was prepared and never started."""
        self.editions.discard()

    @property
    def lookers(self) -> Collection[Recycler | Scaler]:
        """Who replaces workers for what they have used up, and who has their number follow the load."""
        return [*self._recyclers.values(), *self._scalers.values()]

    @property
    def rotate_every(self) -> float:
        """How often there are new keys, seconds."""
        return self.plan.rotate_every

    def asked_to_stop(self, force: bool) -> None:
        """A signal came."""
        self.tree.ask_stop(force=force)

    def serving(self, seconds: float) -> Serving:
        """What is said once everything is up."""
        port = 0 if self._listener is None else sockets.port_of(self._listener)
        return Serving(self.plan.host, port, seconds)

    def close_listener(self) -> None:
        """Take no new connections, as far as it depends on this process: the web workers close theirs."""
        if self._listener is not None:
            self._listener.close()

    def status(self) -> Status:
        """What runs."""
        plan = self.plan
        supervisor = SupervisorStatus(os.getpid(), self._version, self._since, str(plan.config_path), plan.allow_debug)
        guests = [group for group in plan.groups if group.embedded]
        told = [group.status() for group in self._groups]
        for web in [group for group in self._groups if group.role == "web"]:
            told[:0] = hosted(guests, web.state, web.everybody())
        return Status(supervisor, tuple(self._with_figures(group) for group in told))

    def _with_figures(self, group: GroupStatus) -> GroupStatus:
        seen, scaler = self._sightings.get(group.name), self._scalers.get(group.name)
        return structs.replace(
            group,
            figures=None if seen is None else seen.figures(time.monotonic()),
            between=None if scaler is None else (scaler.policy.least, scaler.policy.most),
        )

    async def stop(self, force: bool, progress: Callable[[str], None]) -> None:
        """End everything; returns when it has ended."""
        with self.hub.heard_by(in_words(progress)):
            self.tree.ask_stop(force=force)
            await self.tree.stopped.wait()

    async def restart(self, group: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace the workers of `group`, or all."""
        try:
            with self.hub.heard_by(in_words(progress)):
                why = await self.tree.restart(group, progress)
        except KeyError:
            return self._no_group(group, "restart web")
        if why is not None:
            return Refused(str(why))
        return Done(f"restarted {group or 'all groups'}")

    async def restart_worker(self, worker: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace the worker of that name."""
        group = worker.partition("-")[0]
        if any(plan.name == group and plan.embedded for plan in self.plan.groups):
            return self._no_group(group, "restart web, or one of its workers")
        with self.hub.heard_by(in_words(progress)):
            return await restart_worker(self.tree, worker, progress)

    async def scale(self, group: str, workers: int, progress: Callable[[str], None]) -> Done | Refused:
        """Have that many workers in `group`."""
        for settings in (plan.settings for plan in self.plan.groups if plan.name == group):
            if isinstance(settings, CommandSettings) and workers > (most := most_seats(settings)):
                return Refused(f"{group} has ports for {most} workers, not for {workers}", usage=True)
        scaler = self._scalers.get(group)
        if scaler is not None and workers != scaler.policy.within(workers):
            least, most = scaler.policy.least, scaler.policy.most
            told = f"{group} follows its load between {least} and {most} workers, and {workers} is not in between"
            return Refused(told, usage=True)
        if not 1 <= workers <= MAX_WORKERS:
            return Refused(f"a group has 1 to {MAX_WORKERS} workers, not {workers}", usage=True)
        try:
            found = self.tree.group(group)
            before = found.size
            if scaler is not None:
                scaler.hold()
            self._common.pipes.share_among(workers + sum(each.size for each in self._groups if each.name != group))
            with self.hub.heard_by(in_words(progress)):
                why = await self.tree.scale(group, workers, progress)
        except KeyError:
            return self._no_group(group, "its number is set in the configuration, for each web worker")
        if why is not None:
            return Refused(f"{group} stays at {found.size}: {why}")
        self.plan = self.plan.resized(group, workers)
        told = f"{workers} worker{'s' if workers != 1 else ''}"
        return Done(f"{group} has {told} already" if workers == before else f"{group} has {told} now, not {before}")

    def _no_group(self, group: str, instead: str) -> Refused:
        """It has no processes: it lives elsewhere, or was never there."""
        if any(plan.name == group for plan in self.plan.groups):
            return Refused(f"{group} lives in the web workers (transport: memory); {instead}", usage=True)
        known = [each.name for each in self._groups]
        return Refused(f"there is no group {group!r}; {suggest(group, known, 'there are')}", usage=True)

    async def reload(self, progress: Callable[[str], None]) -> Done | Refused:
        """Read the configuration again and change what is not as it says."""
        return await self.reloads.order(progress)

    async def _reload(self, progress: Callable[[str], None]) -> Done | Refused:
        return await reload(self, self._load, progress)

    async def rotate_keys(self) -> Done | Refused:
        """Give every worker new keys."""
        return await self.renewal.order()

    async def call(self, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
        """Have a web worker call a node; returns what came of it."""
        return await self.errands.call(order, arguments, body)

    def pids(self) -> Collection[int]:
        """The processes of the workers, and those that import the application to describe it."""
        return {*self.tree.pids, *self.editions.prepared, *AT_WORK}

    def _of(self, *roles: Role) -> Iterator[Worker]:
        for group in self._groups:
            if group.role in roles:
                yield from group.everybody()

    def _callers(self) -> Iterator[Worker]:
        """Everybody who calls exec workers: every web worker, and those that send pipelines' calls on."""
        for group in self._groups:
            if self.reach.dials(group.name):
                yield from group.everybody()

    def renew(self, plan: Plan) -> None:
        """Make workers from this plan from now on."""
        self._number += 1
        self.editions = Editions(plan, self._common, self._number)

    def add(self, plan: GroupPlan) -> Group:
        """A group more, before all others; not started yet."""
        group = self._group(plan)
        self._groups.insert(0, group)
        self.recycle(group, plan)
        self.follow(group, plan)
        return group

    def arrange(self, plan: Plan) -> None:
        """Have the groups stand in this plan's order; first those it does not know, which others may still use."""
        places = {group.name: place for place, group in enumerate(plan.groups)}
        self._groups.sort(key=lambda group: places.get(group.name, -1))

    @property
    def ran(self) -> Plan:
        """The plan in force, and with it the groups that were to go and are still called."""
        return replace(self.plan, groups=(*self.left.values(), *self.plan.groups))

    async def remove(self, group: Group, *, force: bool) -> None:
        """A group less, once nothing of it is left."""
        group.stop(force=force, why=f"{group.name} is gone from the configuration")
        await group.gone()
        self._groups.remove(group)
        self._recyclers.pop(group.name).end()
        if (scaler := self._scalers.pop(group.name, None)) is not None:
            scaler.end()
        self._sightings.pop(group.name, None)

    def recycle(self, group: Group, plan: GroupPlan) -> None:
        """Replace the group's workers as this plan says from now on."""
        known = self._recyclers.get(group.name)
        if known is not None and known.policy == plan.recycling:
            return
        if known is not None:
            known.end()
        self._recyclers[group.name] = recycler = Recycler(group, plan.recycling)
        if self.tasks is not None:
            self.tasks.start_soon(recycler.watch)

    def follow(self, group: Group, plan: GroupPlan) -> None:
        """Have the group's size follow its load as this plan says from now on."""
        slots = plan.settings.slots if isinstance(plan.settings, ExecSettings) else 1
        known, policy = self._scalers.get(group.name), plan.scaling
        if known is not None and (known.policy, known.slots) == (policy, slots):
            return
        if known is not None:
            self._scalers.pop(group.name).end()
        if policy is not None:
            self._scalers[group.name] = scaler = Scaler(group, policy, slots, self._sightings[group.name])
            if self.tasks is not None:
                self.tasks.start_soon(scaler.watch)

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
                    self._sightings[group].add(str(worker.name), message, time.monotonic())
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
            self._tell_callers(Ended(str(worker.name), begun.ids, begun.since, suspects))

    def _lost(self, worker: Worker, _begun: Begun, _suspects: tuple[bytes, ...]) -> None:
        """A web worker's process is dead. Its clients' connections are gone with it; operators are told."""
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
            running = (worker.name for worker in self._of("exec") if worker.state in RUNNING)
            statedir.sweep(self.plan.state_dir / LINKS, {name.socket for name in running if name is not None})
