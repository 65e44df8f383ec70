"""From a plan to what makes the workers of its groups."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipc.messages.lifeline import Bootstrap, Run
from ipc.messages.settings import CommandSettings
from ipc.names import TEMPLATE, WorkerName
from supervisor import spawn
from supervisor.edition import Edition
from supervisor.environment import of_program, scrub, without_us
from supervisor.seat import Seat
from supervisor.template import Template

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    from ipc.messages.lifeline import FromSupervisor
    from supervisor.cgroups import Cgroups
    from supervisor.events import Event
    from supervisor.keys import Keys
    from supervisor.life import Spec
    from supervisor.oom import OutOfMemory
    from supervisor.peers import Directory
    from supervisor.plan import GroupPlan, Plan, Role
    from supervisor.process import Process
    from supervisor.quarantine import Quarantine
    from supervisor.reach import Reach
    from supervisor.rotation import Rotation
    from supervisor.warden import Warden


@dataclass(frozen=True, slots=True)
class Common:
    """What there is once, whatever plan is in force."""

    keys: Keys
    rotation: Rotation
    directory: Directory
    reach: Reach
    quarantine: Quarantine
    tell: Callable[[Event], None]
    programs: Mapping[Role, str]
    listener: socket.socket | None
    warden: Warden | None = None
    pipes: spawn.Pipes = field(default_factory=spawn.Pipes)
    templates: dict[str, Seat] = field(default_factory=dict)
    """The seats of templates by group: no two have one name, whatever plans they are of."""
    out_of_memory: OutOfMemory | None = None
    cgroups: Cgroups | None = None


class Editions:
    """Makes the editions of one plan. `number` tells them from those of other plans."""

    def __init__(self, plan: Plan, common: Common, number: int) -> None:
        self._plan = plan
        self._common = common
        self.number = number
        self._launcher = spawn.Launcher(
            scrub(os.environ, plan.environment_pass, plan.environment_set),
            bare=scrub(os.environ, (), ()),
            programs=common.programs,
            listener=common.listener,
            pipes=common.pipes,
            warden=common.warden,
            cgroups=common.cgroups,
            out_of_memory=common.out_of_memory,
        )
        self.share_pipes()

    @property
    def prepared(self) -> list[int]:
        """The processes that were made ahead and are nobody's yet."""
        return self._launcher.prepared

    def prepare(self) -> None:
        """Make the processes of all first lives. None is told who it is before its group's turn.

        Workers that are to be forked are left to their template.
        """
        for group in self._plan.groups:
            for slot in range(0 if group.embedded or group.preload else group.workers):
                name = WorkerName(group.name, slot, 1)
                self._launcher.prepare(name, group.role, group.confinement, group.calls_at_once)

    def discard(self) -> None:
        """End what was prepared and never started."""
        self._launcher.discard()

    def share_pipes(self) -> None:
        """There are to be as many workers as this plan says."""
        self._common.pipes.share_among(sum(group.most for group in self._plan.groups if not group.embedded))

    def of(self, plan: GroupPlan) -> Edition:
        """That of one group."""
        common = self._common

        def launch(name: WorkerName) -> Process:
            return self._launcher.launch(name, plan.role, plan.confinement, plan.calls_at_once)

        def greeting(name: WorkerName) -> Iterator[FromSupervisor]:
            common.reach.born(name, self.number)
            yield self._first_words(plan, name)
            if common.reach.dials(plan.name):
                yield common.directory.for_client(name)
                yield from common.quarantine.inmates(time.monotonic())

        seat = common.templates.setdefault(plan.name, Seat(plan.name, TEMPLATE))

        def template(spec: Spec, changed: Callable[[], None]) -> Template:
            return Template(
                plan, seat, spec, launcher=self._launcher, log=self._plan.log, tell=common.tell, changed=changed
            )

        return Edition(plan, launch, greeting, template if plan.preload else None)

    def _first_words(self, plan: GroupPlan, name: WorkerName) -> Bootstrap | Run:
        if isinstance(plan.settings, CommandSettings):
            environment = of_program(os.environ, plan.passed, plan.added)
            if plan.confinement.uid is not None:
                environment = without_us(environment, os.environ)
            return Run(str(name), self._plan.log, plan.settings, environment)
        common, epoch = self._common, self._common.keys.epoch
        if plan.role == "exec":
            common.rotation.born(name)
        return Bootstrap(
            name=str(name),
            epoch=epoch,
            mode=self._plan.auth_mode,
            limits=self._plan.limits,
            log=self._plan.log,
            settings=plan.settings,
            server_key=common.keys.of_server(name, epoch) if plan.role == "exec" else b"",
            carrier=self._plan.transport,
        )
