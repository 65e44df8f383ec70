"""What can be asked over the control socket, of a service that runs: carried out by its parts, answered in words."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec import structs

from ipc.hints import suggest
from ipc.messages.control import Done, Refused, Status, SupervisorStatus
from ipc.messages.settings import CommandSettings
from supervisor.description import AT_WORK
from supervisor.hosted import hosted
from supervisor.hub import in_words
from supervisor.one_worker import restart_worker
from supervisor.probe import most_seats
from supervisor.process_group import MAX_WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ipc.messages.control import Called, CallNode, GroupStatus
    from supervisor.service import Service


class Orders:
    """Whoever gives one may: that was looked at before, see `callers`."""

    def __init__(self, service: Service, version: str) -> None:
        self._service = service
        self._version = version
        self._since = time.time()

    def status(self) -> Status:
        """What runs."""
        plan = self._service.plan
        supervisor = SupervisorStatus(os.getpid(), self._version, self._since, str(plan.config_path), plan.allow_debug)
        guests = [group for group in plan.groups if group.embedded]
        told = [group.status() for group in self._service.roster.groups]
        for web in [group for group in self._service.roster.groups if group.role == "web"]:
            told[:0] = hosted(guests, web.state, web.everybody())
        return Status(supervisor, tuple(self._with_figures(group) for group in told))

    def _with_figures(self, group: GroupStatus) -> GroupStatus:
        seen, scaler = self._service.roster.sightings.get(group.name), self._service.roster.scalers.get(group.name)
        return structs.replace(
            group,
            figures=None if seen is None else seen.figures(time.monotonic()),
            between=None if scaler is None else (scaler.policy.least, scaler.policy.most),
        )

    async def stop(self, force: bool, progress: Callable[[str], None]) -> None:
        """End everything; returns when it has ended."""
        with self._service.hub.heard_by(in_words(progress)):
            self._service.tree.ask_stop(force=force)
            await self._service.tree.stopped.wait()

    async def restart(self, group: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace the workers of `group`, or all."""
        try:
            with self._service.hub.heard_by(in_words(progress)):
                why = await self._service.tree.restart(group, progress)
        except KeyError:
            return self._no_group(group, "restart web")
        if why is not None:
            return Refused(str(why))
        return Done(f"restarted {group or 'all groups'}")

    async def restart_worker(self, worker: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace the worker of that name."""
        group = worker.partition("-")[0]
        if any(plan.name == group and plan.embedded for plan in self._service.plan.groups):
            return self._no_group(group, "restart web, or one of its workers")
        with self._service.hub.heard_by(in_words(progress)):
            return await restart_worker(self._service.tree, worker, progress)

    async def scale(self, group: str, workers: int, progress: Callable[[str], None]) -> Done | Refused:
        """Have that many workers in `group`."""
        for settings in (plan.settings for plan in self._service.plan.groups if plan.name == group):
            if isinstance(settings, CommandSettings) and workers > (most := most_seats(settings)):
                return Refused(f"{group} has ports for {most} workers, not for {workers}", usage=True)
        scaler = self._service.roster.scalers.get(group)
        if scaler is not None and workers != scaler.policy.within(workers):
            least, most = scaler.policy.least, scaler.policy.most
            told = f"{group} follows its load between {least} and {most} workers, and {workers} is not in between"
            return Refused(told, usage=True)
        if not 1 <= workers <= MAX_WORKERS:
            return Refused(f"a group has 1 to {MAX_WORKERS} workers, not {workers}", usage=True)
        try:
            found = self._service.tree.group(group)
            before = found.size
            if scaler is not None:
                scaler.hold()
            self._service.common.pipes.share_among(
                workers + sum(each.size for each in self._service.roster.groups if each.name != group)
            )
            with self._service.hub.heard_by(in_words(progress)):
                why = await self._service.tree.scale(group, workers, progress)
        except KeyError:
            return self._no_group(group, "its number is set in the configuration, for each web worker")
        if why is not None:
            return Refused(f"{group} stays at {found.size}: {why}")
        self._service.plan = self._service.plan.resized(group, workers)
        told = f"{workers} worker{'s' if workers != 1 else ''}"
        return Done(f"{group} has {told} already" if workers == before else f"{group} has {told} now, not {before}")

    def _no_group(self, group: str, instead: str) -> Refused:
        """It has no processes: it lives elsewhere, or was never there."""
        if any(plan.name == group for plan in self._service.plan.groups):
            return Refused(f"{group} lives in the web workers (transport: memory); {instead}", usage=True)
        known = [each.name for each in self._service.roster.groups]
        return Refused(f"there is no group {group!r}; {suggest(group, known, 'there are')}", usage=True)

    async def reload(self, progress: Callable[[str], None]) -> Done | Refused:
        """Read the configuration again and change what is not as it says."""
        return await self._service.reloads.order(progress)

    async def rotate_keys(self) -> Done | Refused:
        """Give every worker new keys."""
        return await self._service.renewal.order()

    async def call(self, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
        """Have a web worker call a node; returns what came of it."""
        return await self._service.errands.call(order, arguments, body)

    def pids(self) -> Collection[int]:
        """The processes of the workers, and those that import the application to describe it."""
        return {*self._service.tree.pids, *self._service.editions.prepared, *AT_WORK}
