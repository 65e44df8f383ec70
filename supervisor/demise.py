"""What becomes of a worker whose process has ended: nothing, another life at once or later, or none by itself. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor.life import SetTimer, State, TakeAlong
from supervisor.policy import GiveUp, Restart

if TYPE_CHECKING:
    from supervisor.life import Child, Exited, Step


def exited(child: Child, event: Exited, now: float) -> Step:
    """Its process has ended."""
    lived = 0.0 if child.up_since is None else now - child.up_since
    was, fresh = child.state, not child.verdict
    dead = replace(
        child,
        up_since=None,
        verdict="",
        reason="; ".join(filter(None, dict.fromkeys((child.along, child.verdict)))) or event.how,
        traceback="" if fresh else child.traceback,
        incurable=child.incurable and not fresh,
    )
    if not child.wanted:
        return replace(dead, state=State.DOWN), (SetTimer(None),)
    if child.along:
        return along(dead, now)
    if was is State.DRAINING:  # it left as announced, which is no crash
        return replace(dead, state=State.WAITING), (SetTimer(child.spec.policy.base),)
    if child.overran:  # we did it, and the next call is waiting
        return replace(dead, state=State.WAITING), (SetTimer(0.0),)
    if event.busy and fresh:  # not counted: else whoever may call could have the whole group given up
        return replace(dead, state=State.WAITING), (SetTimer(child.spec.policy.base),)
    policy = child.spec.policy
    match policy.decide(child.row, lived, event.dice):
        case Restart(after, row):
            state, timer, others = State.WAITING, SetTimer(after), TakeAlong(now + after, row)
        case GiveUp(row):
            state, timer, others = State.FAILED, SetTimer(None), TakeAlong(None, row)
    alone = policy.strategy == "one_for_one"
    return replace(dead, state=state, row=row), (timer,) if alone else (timer, others)


def along(child: Child, now: float) -> Step:
    """Another died, and it has ended as well: they start together, or not by themselves."""
    if child.until is None:
        return replace(child, state=State.FAILED), (SetTimer(None),)
    return replace(child, state=State.WAITING), (SetTimer(max(0.0, child.until - now)),)
