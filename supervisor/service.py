"""What runs, and what can be asked of it: the groups, and what they have in common."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ipc.messages.control import Done, Refused, Status, SupervisorStatus
from ipc.messages.lifeline import Abandoned, Bootstrap, Ended, Quarantined, Suspected
from ipc.names import TEMPLATE, WorkerName
from supervisor import sockets, spawn, statedir
from supervisor.decode import nearest
from supervisor.environment import scrub
from supervisor.events import Hub, LineWritten, Serving
from supervisor.group import Group
from supervisor.hosted import hosted
from supervisor.keys import Keys
from supervisor.life import RUNNING
from supervisor.peers import Directory
from supervisor.plan import LINKS
from supervisor.process_group import MAX_WORKERS, WEB
from supervisor.pulse import Pulse
from supervisor.quarantine import SECONDS, Quarantine
from supervisor.reach import Reach
from supervisor.recycler import Recycler
from supervisor.renewal import Renewal
from supervisor.seat import Seat
from supervisor.template import Template
from supervisor.tree import Tree
from supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator, Mapping

    from ipc.ledger import Begun
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from supervisor.child import Worker
    from supervisor.events import Event, Hook
    from supervisor.life import Spec
    from supervisor.plan import GroupPlan, Plan, Role
    from supervisor.policy import RestartPolicy
    from supervisor.spawn import Process


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
    ) -> None:
        self.hub = hub
        self.rotate_every = plan.rotate_every
        self._plan = plan
        self._listener = listener
        self._version = version
        self._since = time.time()
        self._keys = Keys(plan.secret)
        self._launcher = spawn.Launcher(
            scrub(os.environ, plan.environment_pass, plan.environment_set),
            programs=programs,
            listener=listener,
            workers=sum(group.workers for group in plan.groups if not group.embedded),
        )
        self._groups: list[Group] = []
        self._reach = reach = Reach(plan.groups)
        self.renewal = Renewal(self._keys, lambda: self._of("exec"), self._callers, hub.tell, plan.limits.ttl, reach)
        rotation = self.renewal.rotation
        self._directory = Directory(self._keys, rotation, lambda: self._of("exec"), self._callers, reach)
        self.renewal.announce = self._directory.refresh
        self.watchdog = Watchdog(lambda: self._of("exec"))
        self.pulse = Pulse(self._everybody)
        self._quarantine = Quarantine()
        processes = [group for group in plan.groups if not group.embedded]
        self._groups += [self._group(group, policy) for group in processes]
        self.recyclers = [Recycler(group, of.recycling) for group, of in zip(self._groups, processes, strict=True)]
        self.tree = Tree(self._groups, hub.tell)

    def prepare(self) -> None:
        """Make the processes of all first lives at once: while those of one group start, the next one's import.

        Workers that are to be forked are left to their template. None is told who it is before its group's turn.
        """
        for group in self._plan.groups:
            for slot in range(0 if group.embedded or group.preload else group.workers):
                name = WorkerName(group.name, slot, 1)
                self._launcher.prepare(name, group.role, group.confinement, group.calls_at_once)

    def discard(self) -> None:
        """End what was prepared and never started."""
        self._launcher.discard()

    def asked_to_stop(self, force: bool) -> None:
        """A signal came."""
        self.tree.ask_stop(force=force)

    def serving(self, seconds: float) -> Serving:
        """What is said once everything is up."""
        port = 0 if self._listener is None else sockets.port_of(self._listener)
        return Serving(self._plan.host, port, seconds)

    def close_listener(self) -> None:
        """Take no new connections, as far as it depends on this process: the web workers close theirs."""
        if self._listener is not None:
            self._listener.close()

    def status(self) -> Status:
        """What runs."""
        plan = self._plan
        supervisor = SupervisorStatus(os.getpid(), self._version, self._since, str(plan.config_path), plan.allow_debug)
        guests = [group for group in plan.groups if group.embedded]
        told = [group.status() for group in self._groups]
        for web in [group for group in self._groups if group.role == "web"]:
            told[:0] = hosted(guests, web.state, web.everybody())
        return Status(supervisor, tuple(told))

    async def stop(self, force: bool, progress: Callable[[str], None]) -> None:
        """End everything; returns when it has ended."""
        with self.hub.heard_by(_in_words(progress)):
            self.tree.ask_stop(force=force)
            await self.tree.stopped.wait()

    async def restart(self, group: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace the workers of `group`, or all."""
        try:
            with self.hub.heard_by(_in_words(progress)):
                why = await self.tree.restart(group, progress)
        except KeyError:
            return self._no_group(group, "restart web")
        if why is not None:
            return Refused(str(why))
        return Done(f"restarted {group or 'all groups'}")

    async def scale(self, group: str, workers: int, progress: Callable[[str], None]) -> Done | Refused:
        """Have that many workers in `group`."""
        if not 1 <= workers <= MAX_WORKERS:
            return Refused(f"a group has 1 to {MAX_WORKERS} workers, not {workers}", usage=True)
        try:
            before = self.tree.group(group).size
            with self.hub.heard_by(_in_words(progress)):
                why = await self.tree.scale(group, workers, progress)
        except KeyError:
            return self._no_group(group, "its number is set in the configuration, for each web worker")
        if why is not None:
            return Refused(f"{group} stays at {self.tree.group(group).size}: {why}")
        told = f"{workers} worker{'s' if workers != 1 else ''}"
        return Done(f"{group} has {told} already" if workers == before else f"{group} has {told} now, not {before}")

    def _no_group(self, group: str, instead: str) -> Refused:
        """It has no processes: it lives elsewhere, or was never there."""
        if any(plan.name == group for plan in self._plan.groups):
            return Refused(f"{group} lives in the web workers (transport: memory); {instead}", usage=True)
        known = [each.name for each in self._groups]
        word = nearest(group, known)
        hint = f"there are {', '.join(known)}" if word is None else f"did you mean {word!r}?"
        return Refused(f"there is no group {group!r}; {hint}", usage=True)

    async def rotate_keys(self) -> Done | Refused:
        """Give every worker new keys."""
        return await self.renewal.order()

    def pids(self) -> Collection[int]:
        """The processes of the workers."""
        return {*self.tree.pids, *self._launcher.prepared}

    def _everybody(self) -> Iterator[Worker]:
        for group in self._groups:
            yield from group.everybody()

    def _of(self, role: Role) -> Iterator[Worker]:
        for group in self._groups:
            if group.role == role:
                yield from group.everybody()

    def _callers(self) -> Iterator[Worker]:
        """Everybody who calls exec workers: every web worker, and those that send pipelines' calls on."""
        for group in self._groups:
            if self._reach.dials(group.name):
                yield from group.everybody()

    def _group(self, plan: GroupPlan, policy: RestartPolicy | None) -> Group:
        def launch(name: WorkerName) -> Process:
            return self._launcher.launch(name, plan.role, plan.confinement, plan.calls_at_once)

        def greeting(name: WorkerName) -> Iterator[FromSupervisor]:
            yield self._bootstrap(plan, name)
            if self._reach.dials(plan.name):
                yield self._directory.for_client(name)
                yield from self._quarantine.inmates(time.monotonic())

        seat = Seat(plan.name, TEMPLATE)

        def template(spec: Spec, changed: Callable[[], None]) -> Template:
            return Template(
                plan, seat, spec, launcher=self._launcher, log=self._plan.log, tell=self.hub.tell, changed=changed
            )

        return Group(
            plan,
            launch=launch,
            greeting=greeting,
            refresh=self._refresh,
            tell=self.hub.tell,
            heard=self._heard,
            buried=self._buried if plan.role == "exec" else _unmourned,
            policy=policy,
            template=template if plan.preload else None,
        )

    def _heard(self, worker: Worker, message: FromChild) -> None:
        """A worker said something that is not about its own life."""
        match message:
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

    def _tell_callers(self, message: FromSupervisor) -> None:
        for worker in self._callers():
            worker.say(message)

    def _refresh(self) -> None:
        """A worker's state is new."""
        self._directory.refresh()
        self.renewal.look()
        if self._plan.transport == "unix":
            running = (worker.name for worker in self._of("exec") if worker.state in RUNNING)
            statedir.sweep(self._plan.state_dir / LINKS, {name.socket for name in running if name is not None})

    def _bootstrap(self, plan: GroupPlan, name: WorkerName) -> Bootstrap:
        epoch = self._keys.epoch
        if plan.role == "exec":
            self.renewal.rotation.born(name)
        return Bootstrap(
            name=str(name),
            epoch=epoch,
            mode=self._plan.auth_mode,
            limits=self._plan.limits,
            log=self._plan.log,
            settings=plan.settings,
            server_key=self._keys.of_server(name, epoch) if plan.role == "exec" else b"",
            carrier=self._plan.transport,
        )


def _unmourned(_worker: Worker, _begun: Begun, _suspects: tuple[bytes, ...]) -> None:
    """Nobody waits for answers of a web worker but its clients, and their connections are gone with it."""


def _in_words(progress: Callable[[str], None]) -> Hook:
    def hear(event: Event) -> None:
        if not isinstance(event, LineWritten):
            progress(str(event))

    return hear
