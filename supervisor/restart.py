"""The same again, by successors: for all workers of a group when somebody asks, or for one that is used up.

The turn is had from the first seat to the last. Who leaves is waited for a moment at each seat, and at the end without
the turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from supervisor import events
from supervisor.edition import on_trial
from supervisor.errors import SpawnError
from supervisor.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker
    from supervisor.group import Group


async def restart(group: Group, progress: Callable[[str], None]) -> SpawnError | None:
    """Give each seat to a successor that is up before its predecessor drains; returns why not, if so.

    The first successor that does not come up ends it: its predecessor stays, and so do all that follow. With a
    template, successors come from a new one, which has imported the code that is there now.
    """
    if group.restart_asked:
        return SpawnError(f"{group.name} is being restarted already")
    group.restart_asked = True
    try:
        group.queue(progress)
        async with group.turn:  # a worker that is being recycled has its successor first
            group.all_anew = True
            try:
                why = await _each(group, Succession(group, "replaced", progress))
            finally:
                group.all_anew = False
        await group.part_from(group.leaving)
    finally:
        group.restart_asked = False
    return why


async def recycle(
    group: Group,
    worker: Worker,
    why: str,
    progress: Callable[[str], None] = lambda _told: None,
    *,
    anyhow: bool = False,
) -> SpawnError | None:
    """Give the seat of this one worker to a successor; returns why that failed, if so.

    Only if it still serves, or `anyhow` while the seat is its own. Whoever asked can be told to leave it until it
    begins, and not any more then.
    """
    life = worker.name
    group.queue(progress)
    async with group.turn:
        if worker.name != life or not (group.seats(worker) or (anyhow and worker in group.seated)):
            return None  # restarted meanwhile, or dead: whoever sits there now is fresh
        group.tell(events.WorkerRecycled(str(life), why))
        failure = await _one(Succession(group, f"recycled: {why}", progress), group.seated.index(worker))
    with anyio.CancelScope(shield=True):
        await group.part_from(group.leaving)
    return failure


async def _each(group: Group, succession: Succession) -> SpawnError | None:
    if (why := await group.nursery.renew(on_trial(group.spec))) is not None:
        return why
    for slot in range(len(group.seated)):
        if (why := await _one(succession, slot)) is not None:
            await group.nursery.keep(new=slot > 0)
            return why
    await group.nursery.keep(new=True)
    return None


async def _one(succession: Succession, slot: int) -> SpawnError | None:
    with anyio.CancelScope(shield=True):  # half done, there would be a worker in no seat, or a seat with nobody
        why = await succession.of(slot)
        await succession.overlap()
    return why
