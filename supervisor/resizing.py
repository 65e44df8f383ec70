"""More seats in a group, or fewer.

More: the newcomers are on trial together, as successors are, and if one does not come up none of them stays. Fewer: the
last ones take nothing new and leave once they have finished what they have begun. Whoever waits for that has given
back the turn, so that nobody else is kept from changing the group: the number of those beside has a bound of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor import events
from supervisor.life import RUNNING, UNDECIDED, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker
    from supervisor.errors import SpawnError
    from supervisor.group import Group

MAX_BESIDE = 256
"""How many workers a group may have beside those in its seats: newcomers, and those that still finish."""


async def resize(
    group: Group,
    workers: int,
    progress: Callable[[str], None],
    reason: str = "",
    still: Callable[[], bool] = lambda: True,
) -> SpawnError | None:
    """Have that many workers, if that is `still` wanted once it can be done; returns why not, if so."""
    group.queue(progress)
    async with group.turn:
        if (why := await group.unless_over(lambda: len(group.beside) + workers - group.size <= MAX_BESIDE)) is not None:
            return why
        if not still():
            return None
        if workers != group.size:
            group.tell(events.GroupScaled(group.name, group.size, workers, reason))
        before, group.size = group.size, workers
        if (why := await _grow(group, progress)) is not None:
            group.size = before
        leaving = _dismiss(group, progress)
    await group.part_from(leaving)
    return why


async def _grow(group: Group, progress: Callable[[str], None]) -> SpawnError | None:
    """Have those come who are missing."""
    newcomers = [group.newcomer(slot) for slot in range(len(group.seated), group.size)]
    group.beside += newcomers
    for worker in newcomers:
        worker.start()
    over = await group.unless_over(lambda: not any(worker.state in UNDECIDED for worker in newcomers))
    if over is not None:
        return over
    for worker in newcomers:
        group.beside.remove(worker)
        group.seated.append(worker)
        if worker.state is not State.FAILED:
            worker.settle(group.spec, "")
            progress(f"{worker.name} is up")
    return next((worker.failure() for worker in newcomers if worker.state is State.FAILED), None)


def _dismiss(group: Group, progress: Callable[[str], None]) -> list[Worker]:
    """Have those leave who are beyond the number that is wanted."""
    leaving, group.seated[group.size :] = group.seated[group.size :], []
    group.beside += leaving
    for worker in leaving:
        if worker.state in RUNNING:
            progress(f"{worker.name} drains")
        worker.retire()
    return leaving
