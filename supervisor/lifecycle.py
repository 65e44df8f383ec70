"""The life of one worker as a function: a state, what happened and the time in; a state and what to do out.

Pure: it starts nothing, waits for nothing and knows no clock. `child.py` carries out what it decides.

    DOWN -> STARTING -> UP -> DRAINING -> DOWN         told to stop
               |        |         |
               |      OVERRUN     |                    a call of its does not end; back if it does after all
               |        |         |
               +---- KILLING -----+-----> DOWN         too late, or told to hurry
                        |
                        v
                WAITING or FAILED                      it died: again in a while, or not before somebody asks

From wherever there is a process it may also end by itself. docs/supervision.md has every way, drawn by trying them all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor.demise import along, exited
from supervisor.ending import LEFT
from supervisor.life import (
    Broke,
    Child,
    Condemned,
    Drain,
    Drained,
    Dump,
    Exited,
    Greet,
    Hardened,
    Kill,
    Lost,
    Overran,
    Ready,
    SetTimer,
    Spawn,
    Start,
    State,
    Stop,
    TakenAlong,
    TimerRang,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervisor.life import Event, Step

LEAVE_TIMEOUT = 5.0
"""How long a process may take to end once it has said that it will; seconds."""
DRAIN_MARGIN = 0.5
"""How much later than told a draining process is killed, so that its own clock may ring first."""
MAX_PATIENCE = 2 * 3600.0
"""How long a process may drain at most for the sake of its calls, seconds, whatever its ledger says: the most that
may be configured for a call, and for what comes after its deadline."""
HELD = 0.1
"""How long until it is looked again whether all have ended that do not start without each other, seconds."""
DUMP_TIME = 0.1
"""How long a worker has to print its stacks before it is killed for a call, seconds: others wait for its place."""
LATE_DUMP_TIME = 1.0
"""The same where nobody waits for it."""


def step(child: Child, event: Event, now: float) -> Step:
    """Say what `event` makes of `child`. What no longer matters changes nothing."""
    return _PLAYS[child.state](child, event, now)


def _resting(child: Child, event: Event, now: float) -> Step:
    """DOWN, WAITING, FAILED: there is no process."""
    match event:
        case Start() if child.state is not State.WAITING:
            return _spawn(replace(child, wanted=True, row=0))
        case TimerRang(held=held) if child.state is State.WAITING:
            return (child, (SetTimer(HELD),)) if held else _spawn(child)
        case TakenAlong(why, until, row) if child.state is State.WAITING:
            return along(replace(child, until=until, row=row, reason=why), now)
        case Stop():
            return replace(child, state=State.DOWN, wanted=False), (SetTimer(None),)
    return child, ()


def _spawn(child: Child) -> Step:
    fresh = Child(child.spec, wanted=child.wanted, row=child.row, reason=child.reason)
    born = replace(fresh, state=State.STARTING, incurable=child.incurable)
    return born, (Spawn(), SetTimer(child.spec.start_timeout))


def _starting(child: Child, event: Event, now: float) -> Step:
    match event:
        case Hardened() if not child.hardened:
            return replace(child, hardened=True), (Greet(),)
        case Ready() if not child.verdict:
            return _ready(child, now)
        case Broke(what, traceback) if not child.verdict:
            verdict = what or "said that it could not start"
            broken = replace(child, verdict=verdict, traceback=traceback, incurable=True)
            return broken, (SetTimer(LEAVE_TIMEOUT),)
        case TimerRang():
            return _too_late(child, f"killed: did not become ready in {child.spec.start_timeout:g} s")
        case Stop() | TakenAlong():  # it serves nobody yet, so there is nothing to wait for
            return _kill(_taken(child, event), "stopped before it was ready")
    return _running(child, event, now)


def _ready(child: Child, now: float) -> Step:
    if not child.hardened:
        return _kill(child, "killed: said that it was ready before it was hardened")
    return replace(child, state=State.UP, up_since=now), (SetTimer(None),)


def _up(child: Child, event: Event, now: float) -> Step:
    match event:
        case Stop(force=False):
            return _drain(_patient(child, event, now), event.calls or 0.0)
        case Drained():
            return replace(child, state=State.DRAINING, verdict=LEFT), (SetTimer(LEAVE_TIMEOUT),)
        case Broke(what, traceback):
            return _kill(replace(child, traceback=traceback), f"broke after it was ready: {what}")
        case TakenAlong():
            return _drain(_taken(child, event))
        case Overran(why, hung):
            return _overrun(child, why, hung=hung)
    return _running(child, event, now)


def _taken(child: Child, event: Event) -> Child:
    """It is to end, for good or because another did."""
    match event:
        case Stop():
            return replace(child, wanted=False)
        case TakenAlong(why, until, row) if child.wanted:
            judged = child.verdict if child.state in {State.STARTING, State.KILLING} else ""
            return replace(child, along=judged or why, until=until, row=row)
    return child


def _patient(child: Child, stop: Stop, now: float) -> Child:
    """It is to end, and may do so with all its calls done, or not."""
    return replace(child, wanted=False, patience=0.0 if stop.calls is None else now + MAX_PATIENCE)


def _drain(child: Child, calls: float = 0.0) -> Step:
    grace = max(child.spec.drain_timeout, min(calls, MAX_PATIENCE))
    told = Drain(grace, replaced=bool(child.patience))
    return replace(child, state=State.DRAINING), (told, SetTimer(grace + DRAIN_MARGIN))


def _draining(child: Child, event: Event, now: float) -> Step:
    match event:
        case Start() | Stop(force=False):
            return _told_again(child, event)
        case Drained():
            return replace(child, patience=0.0, verdict=""), (SetTimer(LEAVE_TIMEOUT),)
        case TimerRang(calls=calls):
            return _late(child, calls, now)
        case Lost():  # on its way out it hangs up first
            return child, ()
        case Overran(why, hung):
            return _overrun(child, why, hung=hung)
    return _running(child, event, now)


def _told_again(child: Child, event: Start | Stop) -> Step:
    """It drains, and somebody wants that or not."""
    told = replace(child, wanted=isinstance(event, Start))
    if child.patience and event == Stop():  # it was replaced, and now everything stops
        return replace(told, patience=0.0), (SetTimer(child.spec.drain_timeout + DRAIN_MARGIN),)
    return told, ()


def _late(child: Child, calls: float, now: float) -> Step:
    """It has not drained in time. A call may have begun after it was told to."""
    if (left := min(calls, child.patience - now)) > 0:
        return replace(child, dumped=False, verdict=""), (SetTimer(left + DRAIN_MARGIN),)
    verdict = f"killed: had not finished after {child.spec.drain_timeout:g} s"
    return _too_late(child, f"{verdict}, nor when the time of its calls was over" if child.patience else verdict)


def _too_late(child: Child, verdict: str) -> Step:
    """It starts or drains for too long, and is ended once it has told where it stands."""
    if child.dumped or not child.hardened:  # before, it would end of being asked
        return _kill(child, verdict)
    return replace(child, dumped=True, verdict=child.verdict or verdict), (Dump(), SetTimer(LATE_DUMP_TIME))


def _overrun(child: Child, why: str, *, hung: bool) -> Step:
    leaving = child.state is State.DRAINING
    doomed = replace(child, state=State.OVERRUN, overran=True, leaving=leaving, verdict=f"killed: {why}")
    return doomed, (Dump(), SetTimer(LATE_DUMP_TIME if hung else DUMP_TIME))


def _overrunning(child: Child, event: Event, now: float) -> Step:
    match event:
        case Start():
            return replace(child, wanted=True), ()
        case Stop(force=False):
            return _patient(child, event, now), ()
        case Drained() | TakenAlong():
            return replace(_taken(child, event), leaving=True), ()
        case TimerRang(recovered=True):
            return _recovered(replace(child, overran=False, verdict=""))
        case TimerRang() | Lost():
            return _kill(child, child.verdict)
    return _running(child, event, now)


def _recovered(child: Child) -> Step:
    """What it was to be killed for has ended meanwhile. The others that it runs owe nobody anything."""
    if child.leaving:
        return replace(child, state=State.DRAINING), (SetTimer(child.spec.drain_timeout + DRAIN_MARGIN),)
    if not child.wanted:
        return _drain(child)
    return replace(child, state=State.UP), (SetTimer(None),)


def _killing(child: Child, event: Event, now: float) -> Step:
    match event:
        case Start() | Stop():
            return replace(child, wanted=isinstance(event, Start)), ()
        case TakenAlong():
            return _taken(child, event), ()
        case Exited():
            return exited(child, event, now)
    return child, ()


def _running(child: Child, event: Event, now: float) -> Step:
    """What is the same for every process that was not killed."""
    match event:
        case Stop(force=True):
            return _kill(replace(child, wanted=False), "killed: told to stop at once")
        case Lost(why) | Condemned(why):
            return _kill(child, f"killed: {why}")
        case TakenAlong():
            return _taken(child, event), ()
        case Exited():
            return exited(child, event, now)
    return child, ()


def _kill(child: Child, verdict: str) -> Step:
    doomed = replace(child, state=State.KILLING, verdict=child.verdict or verdict)
    return doomed, (Kill(), SetTimer(None))


_PLAYS: Mapping[State, Callable[[Child, Event, float], Step]] = {
    State.DOWN: _resting,
    State.WAITING: _resting,
    State.FAILED: _resting,
    State.STARTING: _starting,
    State.UP: _up,
    State.DRAINING: _draining,
    State.OVERRUN: _overrunning,
    State.KILLING: _killing,
}
