"""What everybody is told of a step in a worker's life. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor import events
from supervisor.life import RUNNING, Exited, Ready, State, TakenAlong
from supervisor.standing import is_hopeless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor import life
    from supervisor.life import Child


def told(
    name: str,
    before: Child,
    now: Child,
    event: life.Event,
    *,
    took: float,
    after: float,
    words: tuple[str, ...],
    begins: bool = False,
) -> Iterator[events.Event]:
    """What is said of `event`, which made `now` of `before`.

    `took` is how long it took to be ready, if it is; `after` when its timer rings, seconds; `words` are the last lines
    it wrote. While its group `begins`, it may be that nobody is started again.
    """
    if isinstance(event, Exited) and before.state in RUNNING:
        expected = not before.wanted or before.state is State.DRAINING or before.along != ""
        yield events.WorkerExited(name, now.reason, expected, now.traceback, words)
    match now.state, event:
        case State.UP, Ready() if before.state is State.STARTING:
            yield events.WorkerReady(name, took)
        case State.DRAINING, _ if before.state is State.UP or (before.state is State.OVERRUN and not now.leaving):
            yield events.WorkerDraining(name, now.along)
        case State.WAITING, Exited() if before.state is not State.WAITING and not (begins and is_hopeless(now)):
            yield events.WorkerRestarting(name, after, "" if begins else _later(before, now))
        case State.FAILED, Exited() | TakenAlong() if before.state is not State.FAILED:
            yield events.WorkerFailed(name, now.reason, now.row)


def _later(before: Child, now: Child) -> str:
    """What may keep it from its next life for longer."""
    crashed = now.row > before.row and now.spec.policy.strategy != "one_for_one"
    return "all that end with it have ended" if now.along or crashed else ""
