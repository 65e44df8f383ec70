"""Where the workers of one group are forked: its template and, during a restart, the one that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.errors import Stopping
from supervisor.life import UNDECIDED, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from ipc.messages.control import WorkerStatus
    from ipc.names import WorkerName
    from supervisor.errors import SpawnError
    from supervisor.life import Child, Spec
    from supervisor.process import Process
    from supervisor.template import Template

    MakeTemplate = Callable[[Spec, Callable[[], None]], Template]
    """Makes the template of a group: what it is allowed, and whom to tell that its state is new."""
    Until = Callable[[Callable[[], bool]], Awaitable[None]]


class Nursery:
    """At most two templates; without `make` there is none, and every worker is started by exec.

    `changed` is called when a template's state is new, and `until` waits for something to be true of them.
    """

    def __init__(self, make: MakeTemplate | None, spec: Spec, changed: Callable[[], None], until: Until) -> None:
        self._make = make
        self._spec = spec
        self._changed = changed
        self._until = until
        self._templates = [] if make is None else [make(spec, changed)]
        """The one that workers are forked from, and beside it one on trial or at its end."""
        self._stopping = False

    @property
    def lives(self) -> list[Child]:
        """How it stands with its templates."""
        return [template.life for template in self._templates]

    def running(self) -> Iterator[tuple[WorkerName, State]]:
        """The lives of its templates that go on."""
        for template in self._templates:
            if template.name is not None and template.is_running:
                yield template.name, template.life.state

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [template.pid for template in self._templates if template.pid is not None]

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return any(template.is_running for template in self._templates)

    def status(self) -> WorkerStatus | None:
        """What can be seen from outside of the template that is in use."""
        return self._templates[0].status() if self._templates else None

    def fork(self, name: WorkerName) -> Process | None:
        """A worker; None if there is no template that is warm."""
        return self._templates[0].spawn(name) if self._templates else None

    def stop(self) -> None:
        """End all of it."""
        self._stopping = True
        for template in self._templates:
            template.stop()

    async def warm_up(self, is_settled: Callable[[Iterable[Child]], bool]) -> SpawnError | None:
        """Start the template and wait for it; returns why not, if starting workers by exec would end the same way."""
        for template in self._templates:
            template.start()
        await self._until(lambda: self._stopping or is_settled(self.lives))
        incurable = [template for template in self._templates if template.life.incurable]
        return incurable[0].why() if incurable and not self._stopping else None

    async def renew(self, on_trial: Spec) -> SpawnError | None:
        """Have workers forked from a new template, with the former one behind it; returns why not, if so."""
        if self._make is None:
            return None
        fresh = self._make(on_trial, self._changed)
        self._templates.append(fresh)
        if not self._stopping:
            fresh.start()
        await self._until(lambda: self._stopping or fresh.life.state not in UNDECIDED)
        if self._stopping:
            return Stopping()
        if fresh.life.state is not State.UP:
            why = fresh.why()
            await self._drop(fresh)
            return why
        fresh.settle(self._spec)
        self._templates.reverse()
        return None

    async def keep(self, *, new: bool) -> None:
        """End what `renew` left beside: the former template, or the new one if that is not to stay."""
        if len(self._templates) > 1:
            await self._drop(self._templates[1 if new else 0])

    async def _drop(self, template: Template) -> None:
        template.stop()
        await self._until(lambda: not template.is_running)
        self._templates.remove(template)
