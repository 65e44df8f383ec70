"""An order about one worker: who is meant by its name, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.hints import suggest
from ipc.messages.control import Done, Refused
from supervisor.life import State
from supervisor.restart import recycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker
    from supervisor.group import Group
    from supervisor.tree import Tree

MOST_NAMED = 8
"""So many names are told to whoever gave one that nobody has."""


async def restart_worker(tree: Tree, name: str, progress: Callable[[str], None]) -> Done | Refused:
    """Give the seat of that worker to a successor: by the seat's name whoever sits there, by a life's name only that.

    One that serves drains once its successor is up; one that was given up, or waits, is started again so.
    """
    if (why := tree.not_now()) is not None:
        return Refused(str(why))
    found = _found(tree, name)
    if isinstance(found, Refused):
        return found
    group, worker = found
    life = worker.name
    why = await recycle(group, worker, reason(worker.state), progress, anyhow=True)
    if why is not None:
        stays = worker.name == life and worker.state is State.UP
        return Refused(f"{life} stays, for its successor did not come up: {why}" if stays else str(why))
    now = next((each.name for each in group.seated if each.seat == worker.seat), None)
    return Done(f"{life} is gone, and so is its place" if now is None else f"{now} has the place of {life}")


def reason(state: State) -> str:
    """Why a worker in that state is replaced."""
    return "drained by hand" if state is State.UP else "started by hand"


def _found(tree: Tree, name: str) -> tuple[Group, Worker] | Refused:
    seat, _, life = name.partition("#")
    seats: dict[str, Worker] = {}
    for group in tree.groups:
        for worker in group.everybody():
            if worker.seat != seat or (life and str(worker.name) != name):
                continue
            if worker in group.seated:
                return group, worker
            if life:
                return Refused(f"{name} has no place of its own: it is {worker.state.value}")
        seats |= {worker.seat: worker for worker in group.seated}
    if seat in seats:
        return Refused(f"there is no {name}; {seat} is {seats[seat].name} now")
    if (group_name := seat.removesuffix("-template")) != seat and any(each.name == group_name for each in tree.groups):
        return Refused(f"{seat} serves nobody: shunter restart {group_name} has a new one as well", usage=True)
    return Refused(f"there is no worker {name!r}; {suggest(seat, seats, 'there are', MOST_NAMED)}", usage=True)
