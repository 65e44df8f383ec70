"""How one seat passes to somebody else, while the turn is had: the successor is up before the predecessor drains.

The successor is on trial beside the others until it is up; if it does not come up, nothing of it stays and the seat is
as it was. Then the two change places, and the predecessor is one of those who are leaving. Where two could not be
beside each other, the worker that is there ends and begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from supervisor.edition import on_trial
from supervisor.life import RUNNING, UNDECIDED, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker
    from supervisor.errors import SpawnError
    from supervisor.group import Group

OVERLAP = 2.0
"""How long a change waits for who drains before it goes on to the next seat, seconds; at the end it waits for all."""


class Succession:
    """Of the workers of one group, for one `reason`, by whoever has the turn."""

    def __init__(self, group: Group, reason: str, progress: Callable[[str], None]) -> None:
        self._group = group
        self._reason = reason
        self._progress = progress

    async def of(self, slot: int, tried: Worker | None = None, *, keep: bool = False) -> SpawnError | None:
        """Give a seat to a successor: a new one, or one that was `tried` out and is up.

        The predecessor drains, or goes on beside it if somebody is to `keep` it.
        """
        group = self._group
        predecessor = group.seated[slot]
        if group.over is not None:
            return group.over
        if group.in_place:
            return await self._begin_anew(predecessor)
        successor = tried or group.newcomer(slot)
        if tried is None and (why := await try_out(group, successor)) is not None:
            return why
        successor.settle(group.spec, self._reason, group)
        group.seated[slot] = successor
        group.beside[group.beside.index(successor)] = predecessor
        group.leaving.append(predecessor)
        if keep:
            predecessor.allow(on_trial(group.spec))  # if it crashes there is no seat to come back to
            self._progress(f"{successor.name} is up; {predecessor.name} stays for callers of the version before")
            return None
        self._progress(f"{successor.name} is up; {predecessor.name} drains")
        predecessor.retire()
        return None

    async def overlap(self) -> None:
        """Wait for those who leave; who drains for long keeps the next seat waiting for a moment only."""
        with anyio.move_on_after(OVERLAP):
            await self._group.part_from(self._group.leaving)

    async def _begin_anew(self, worker: Worker) -> SpawnError | None:
        """End a worker and start it again: what it has, a successor could not have beside it."""
        group, before = self._group, worker.name
        worker.stop()
        await group.until(lambda: worker.state not in RUNNING)
        if group.over is None:
            worker.start()
        if (over := await group.unless_over(lambda: worker.state not in UNDECIDED)) is not None:
            return over
        if worker.state is not State.UP:
            return worker.failure()
        self._progress(f"{worker.name} is up; {before} had ended before")
        return None


async def try_out(group: Group, successor: Worker) -> SpawnError | None:
    """Have it up beside the others; if it does not come up, nothing of it stays."""
    group.beside.append(successor)
    successor.start()
    try:
        over = await group.unless_over(lambda: successor.state not in UNDECIDED)
    except BaseException:  # nobody waits for it any more
        await _drop(group, successor)
        raise
    if over is not None or successor.state is State.UP:
        return over
    await _drop(group, successor)
    return successor.failure()


async def _drop(group: Group, successor: Worker) -> None:
    successor.stop(force=True)
    with anyio.CancelScope(shield=True):
        await group.until(lambda: successor.state not in RUNNING)
    group.beside.remove(successor)
