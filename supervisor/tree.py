"""All groups: started in the order of the plan, each when the one before is up; stopped the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from supervisor import events
from supervisor.errors import SpawnError, Stopping
from supervisor.resizing import resize
from supervisor.restart import restart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.events import Event
    from supervisor.group import Group


class Tree:
    """Everything that runs. A group that fails later on leaves the others alone."""

    def __init__(self, groups: Sequence[Group], tell: Callable[[Event], None]) -> None:
        self.groups = groups
        """In the order in which they start; there may be others later."""
        self.stop_asked = anyio.Event()
        self.stopped = anyio.Event()
        self.started = False
        self._tell = tell
        self._forced = False

    @property
    def pids(self) -> list[int]:
        """All processes it has."""
        return [pid for group in self.groups for pid in group.pids]

    async def start(self) -> SpawnError | None:
        """Start all groups; returns why not, if a group cannot start at all. Returns early if a stop is asked for."""
        for group in self.groups:
            if self.stop_asked.is_set():
                return None
            if (why := await group.start()) is not None:
                return why
        self.started = not self.stop_asked.is_set()
        return None

    def ask_stop(self, *, force: bool = False) -> None:
        """Have everything end; may be called at any time, also from a signal, and again with `force`."""
        if self.stop_asked.is_set() and (self._forced or not force):
            return
        self._forced = self._forced or force
        self._tell(events.Draining(self._forced))
        self.stop_asked.set()
        # What starts is waited for by nobody any more. What is up ends in its turn, or now if in a hurry.
        for group in reversed(self.groups):
            if force or group.state == "starting":
                group.stop(force=force)

    async def stop(self) -> None:
        """End everything: the last group first, the next when nothing of that one is left."""
        for group in tuple(reversed(self.groups)):
            group.stop(force=self._forced)
            await group.gone()
        self._tell(events.Stopped())
        self.stopped.set()

    async def restart(self, name: str, progress: Callable[[str], None]) -> SpawnError | None:
        """Replace the workers of one group, or of all if `name` is empty; returns why not, if so. KeyError."""
        groups = tuple(self.groups) if not name else [self.group(name)]
        if (why := self.not_now()) is not None:
            return why
        for group in groups:
            if (why := await restart(group, progress)) is not None:
                return why
        return None

    async def scale(self, name: str, workers: int, progress: Callable[[str], None]) -> SpawnError | None:
        """Have that many workers in one group; returns why not, if so. KeyError."""
        group = self.group(name)
        return self.not_now() or await resize(group, workers, progress, "asked for")

    def group(self, name: str) -> Group:
        """The group of that name. KeyError."""
        return {group.name: group for group in self.groups}[name]

    def not_now(self) -> SpawnError | None:
        """Why nothing can be changed, if so."""
        if self.stop_asked.is_set():
            return Stopping()
        return None if self.started else SpawnError("the service is still starting")
