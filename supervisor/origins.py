"""Of which lives it is certain that they have the version that the plan in force describes.

A worker imports what is on disk when it starts: after an edit, a crash and the edit taken back that is not what was
described, though what was described is there again. It is certain if no file of the application has moved from the
description until after the worker was up. What a function imports when it runs is of the time at which it ran.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
from anyio.to_thread import run_sync

from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from ipc.contract import Module
    from ipc.names import WorkerName
    from supervisor.group import Group
    from supervisor.plan import Plan

PAUSE = 0.2
"""Files are looked at no more often than that, seconds."""


class Origins:
    """Looks at the files' stamps, in a thread, when a worker has come up; `plan` is the one in force."""

    def __init__(self, groups: Callable[[], Iterable[Group]], plan: Callable[[], Plan]) -> None:
        self._groups = groups
        self._plan = plan
        self._certain: frozenset[WorkerName] = frozenset()
        self._bell = anyio.Event()

    def up(self) -> frozenset[WorkerName]:
        """The lives that have imported what they do at their start."""
        return frozenset(name for group in self._groups() for name, state in group.lives() if state is State.UP)

    def look(self) -> None:
        """Somebody's state is new."""
        if not self.up() <= self._certain:
            self._bell.set()

    async def watch(self) -> None:
        """Make certain of those who come up, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell = anyio.Event()
            up, described = self.up(), self._plan().described
            if await run_sync(unmoved, described.modules, abandon_on_cancel=True):
                self._certain = up | (self._certain & self.up())  # of the others nobody is left
            await anyio.sleep(PAUSE)

    def strayed(self, moved: Collection[str], up: frozenset[WorkerName]) -> frozenset[str]:
        """The groups in which there may be another version than that of the plan in force, before another follows it.

        `moved` are those whose files are not the ones any more that were described. `up` are the lives that were up
        before it was looked for that: nothing has moved until then if it has not by now.
        """
        found = set()
        for group in self._groups():
            lives = {name for name, _ in group.lives()}
            if group.name not in moved:
                self._certain |= lives & up
            elif not lives <= self._certain:
                found.add(group.name)
        return frozenset(found)


def unmoved(modules: Iterable[Module]) -> bool:
    """Whether each still is the very file that was described."""
    try:
        for module in modules:
            stat = os.stat(module.path)  # noqa: PTH116 - thousands at once
            if (stat.st_ino, stat.st_ctime_ns) != module.stamp:
                return False
    except OSError:
        return False
    return True
