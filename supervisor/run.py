"""One start of a service, from the plan to the last process: who is told what, and in which order it all begins."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio

from supervisor import cgroups, control, orphans, signals, sockets, spawn, statedir
from supervisor.events import Trouble
from supervisor.hub import Hub
from supervisor.logbook import Logbook
from supervisor.orders import Orders
from supervisor.outlet import Outlet
from supervisor.plan import LINKS
from supervisor.recent import Recent
from supervisor.service import Service
from supervisor.systemd import Systemd
from supervisor.trust import TRUST, trusting
from supervisor.warden import Warden

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from supervisor.control import Control
    from supervisor.early import Early
    from supervisor.events import Event
    from supervisor.hub import Hook
    from supervisor.plan import Plan, Role
    from supervisor.policy import RestartPolicy

    Beside = Callable[[Callable[[], None]], Coroutine[object, object, None]]
    """What somebody has done while the service serves."""


async def run(
    plan: Plan,
    *,
    on_event: Hook | None = None,
    version: str = "",
    programs: Mapping[Role, str] = spawn.PROGRAMS,
    policy: RestartPolicy | None = None,
    last: bool = True,
    early: Early | None = None,
    beside: Beside | None = None,
    load: Callable[[], Plan] | None = None,
) -> None:
    """Start what `plan` says, keep it alive, and return when it was told to stop and nothing is left of it.

    `load` makes the plan anew for a reload; it is called in a thread of its own. `beside` runs while it serves, and is
    given what asks for a reload.

    To be called in the main thread, in an event loop of asyncio. A stop that was asked for `early` is met first. If it
    is not the `last` this process does, signals are afterwards what they were. Raises StartError, with nothing left
    either, if the first start fails: AlreadyRunning, the port is taken, or a group cannot start at all (SpawnError).
    """
    began = time.monotonic()
    hub = Hub(*([] if on_event is None else [on_event]))
    with ExitStack() as stack:
        stack.enter_context(statedir.held(plan.state_dir))
        listener = None
        if any(group.role == "web" for group in plan.groups):
            listener = stack.enter_context(sockets.listen(plan.host, plan.port))
        asked = stack.enter_context(statedir.bound(plan.state_dir))
        if plan.transport == "unix":
            stack.enter_context(statedir.links(plan.state_dir / LINKS))
        stack.enter_context(_kept(plan, hub))
        recent = Recent()
        stack.enter_context(hub.heard_by(recent.hear))
        stack.enter_context(orphans.adopted())
        warden = Warden(hub.tell)
        stack.callback(warden.stop)
        groups = cgroups.of_service(plan.state_dir, warden.mark, hub.tell)
        if groups is not None:
            stack.callback(groups.close)
        warden.start(None if groups is None else groups.path)
        service = Service(plan, hub, listener, programs, policy, load, warden, groups)
        orders = Orders(service, version)
        if trusting():
            hub.tell(Trouble(f"{TRUST}=1: whoever may change the configuration or the application decides what runs"))
        left_behind = orphans.Orphans(lambda: {*orders.pids(), *warden.pids})
        stack.callback(left_behind.end)

        def on_stop(force: bool) -> None:
            service.tree.ask_stop(force=force)

        def on_child() -> None:
            warden.tend()
            left_behind.reap()
            if groups is not None:
                groups.sweep()

        heard = signals.heard(on_stop, service.reloads.ask, on_child, last=last, early=early)
        stack.enter_context(heard)
        systemd = Systemd(os.environ, os.getpid(), service.tree)
        stack.callback(systemd.close)
        stack.enter_context(hub.heard_by(systemd.hear))
        clients = control.Control(orders, hub.tell, recent)
        why = await _life(service, clients, asked, systemd, beside, began)
    if why is not None:
        raise why


@contextmanager
def _kept(plan: Plan, hub: Hub) -> Iterator[None]:
    """What happens meanwhile stands in the log files."""
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(hub.tell, event)

    logbook = Logbook(plan.state_dir / "logs", tell, plan.log_bytes, plan.log_files)
    outlet = Outlet(logbook.hear, lost="kept: the disk took them too slowly")
    try:
        with hub.heard_by(outlet):
            yield
    finally:
        if outlet.close():
            logbook.close()


async def _life(
    service: Service, clients: Control, asked: socket.socket, systemd: Systemd, beside: Beside | None, began: float
) -> Exception | None:
    """From the first process to the last; returns what kept it from starting."""
    tree = service.tree
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clients.serve, asked)
        tasks.start_soon(service.renewal.every, lambda: service.plan.rotate_every)
        service.roster.watch(tasks)
        tasks.start_soon(service.origins.watch)
        tasks.start_soon(service.watchdog.watch)
        tasks.start_soon(service.pulse.take)
        tasks.start_soon(service.out_of_memory.watch)
        tasks.start_soon(systemd.beat)
        try:
            service.editions.prepare()
            why = await tree.start()
            if tree.started:
                service.hub.tell(service.serving(time.monotonic() - began))
                tasks.start_soon(service.reloads.serve)
                if beside is not None:
                    tasks.start_soon(beside, service.reloads.ask)
                await tree.stop_asked.wait()
            service.close_listener()
        except BaseException:  # cancelled, or a fault of ours: no process may outlive it
            tree.ask_stop(force=True)
            raise
        finally:
            service.reloads.close()
            with anyio.CancelScope(shield=True):
                service.editions.discard()
                await tree.stop()
                await clients.finish()
        tasks.cancel_scope.cancel()
    return why
