"""Reading the configuration again: however many ask, one run at a time, and one more for all who asked meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from ipc.messages.control import Done, Refused
from supervisor import events
from supervisor.description import GIVEN_UP
from supervisor.difference import difference, moved
from supervisor.errors import StartError, Stopping
from supervisor.hub import in_words
from supervisor.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor.plan import Plan
    from supervisor.service import Service

    Run = Callable[[Callable[[str], None]], Awaitable[Done | Refused]]

STOPPING = Refused(str(Stopping()))


@dataclass(slots=True, eq=False)
class _Waiting:
    """Somebody who waits for a run that has not begun when they asked."""

    progress: Callable[[str], None]
    over: anyio.Event = field(default_factory=anyio.Event)
    answer: Done | Refused = STOPPING


class Reloads:
    """Asks for runs of `run`, which is told how to report progress and never raises."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting: list[_Waiting] = []
        self._asked = anyio.Event()
        self._closed = False

    def ask(self) -> None:
        """Have one run begin from now; nobody waits for it."""
        self._asked.set()

    async def order(self, progress: Callable[[str], None]) -> Done | Refused:
        """What came of a run that began after this was asked."""
        if self._closed:
            return STOPPING
        waiting = _Waiting(progress)
        self._waiting.append(waiting)
        self._asked.set()
        await waiting.over.wait()
        return waiting.answer

    async def serve(self) -> None:
        """Carry them out, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            batch, self._waiting = self._waiting, []

            def progress(text: str, batch: list[_Waiting] = batch) -> None:
                for each in batch:
                    each.progress(text)

            try:
                answer = await self._run(progress)
                for each in batch:
                    each.answer = answer
            finally:
                for each in batch:
                    each.over.set()

    def close(self) -> None:
        """Nothing is begun any more."""
        self._closed = True
        for each in self._waiting:
            each.over.set()
        self._waiting.clear()


async def reload(service: Service, load: Callable[[], Plan] | None, progress: Callable[[str], None]) -> Done | Refused:
    """One run: read, compare, try out, replace. Never raises."""
    if load is None:
        return Refused("this service was started without a configuration file")
    tell, began = service.hub.tell, anyio.current_time()
    tell(events.Reloading())
    try:
        with service.hub.heard_by(in_words(progress)):
            answer = await _reload(service, load, progress)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not end the service
        answer = Refused(f"this failed inside the supervisor: {error!r}")
    if isinstance(answer, Refused):
        tell(events.NotReloaded(answer.why))
    else:
        tell(events.Reloaded(anyio.current_time() - began))
    return answer


async def _reload(service: Service, load: Callable[[], Plan], progress: Callable[[str], None]) -> Done | Refused:
    up = service.origins.up()
    plan = await _unless_stopped(service, load)
    if isinstance(plan, StartError):
        return Refused(str(plan), usage=True, report=True)
    if plan is None:
        return STOPPING
    # In threads: an application of thousands of modules takes seconds to compare, and nothing else is to wait for that.
    strayed = service.origins.strayed(await run_sync(moved, service.plan, plan), up)
    behind = [
        group.name
        for group in service.tree.groups
        if group.behind or group.name in strayed or group.name in service.left
    ]
    sizes = {group.name: group.size for group in service.tree.groups}
    found = await run_sync(difference, service.ran, plan, behind, sizes)
    if found.refusal:
        return Refused(found.refusal, usage=True)
    for line in found.lines():
        service.hub.tell(events.WillChange(line))
    rollout = Rollout(service, plan, found, progress)
    why = await rollout.go()
    if why is None:
        return Done("reloaded")
    if rollout.committed:
        return Refused(f"reloaded, but not every worker could be replaced: {why}")
    return Refused(f"nothing was changed: {why}")


async def _unless_stopped(service: Service, load: Callable[[], Plan]) -> Plan | StartError | None:
    """The plan, or why there is none; None if the service is to stop before that is known."""
    found: Plan | StartError | None = None
    given_up = Event()

    def read() -> Plan:
        # In a context of this thread's own: it may go on for a while after the service has ended.
        GIVEN_UP.set(given_up.is_set)
        return load()

    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            await service.tree.stop_asked.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(give_up)
        try:
            found = await run_sync(read, abandon_on_cancel=True)
        except StartError as error:
            found = error
        finally:
            given_up.set()
        tasks.cancel_scope.cancel()
    return found
