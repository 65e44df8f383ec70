"""The words in which a worker's life is told: its states, what can happen to it, and what can be done about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from supervisor.policy import RestartPolicy


class State(enum.Enum):
    """Where a worker stands."""

    DOWN = "down"  # not wanted, not running
    STARTING = "starting"  # spawned; neither hardened nor ready, or hardened and not ready
    UP = "up"
    DRAINING = "draining"  # finishing, or about to end by its own word
    OVERRUN = "overrun"  # a call's time is long over; it prints where it is before it is killed
    KILLING = "killing"  # sent SIGKILL; not yet reaped
    WAITING = "waiting"  # died; starts again when the timer rings
    FAILED = "failed"  # died too often; waits for somebody


RUNNING = frozenset({State.STARTING, State.UP, State.DRAINING, State.OVERRUN, State.KILLING})
"""The states in which there is a process."""
UNDECIDED = frozenset({State.STARTING, State.KILLING})
"""The states in which a worker that has just been started may yet come up, or be given up."""
TIMED = frozenset({State.STARTING, State.DRAINING, State.OVERRUN, State.WAITING})
"""The states that a timer ends if nothing else does."""


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody wants it to run."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants it to end; with `force` at once, whatever it has under way."""

    force: bool = False
    calls: float | None = None
    """How long calls of its may still run, seconds, if it is to be left to all it has begun; None if its time to drain
    is all it has."""


@dataclass(frozen=True, slots=True)
class Hardened:
    """It has closed itself to its neighbours and may be trusted with secrets."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It serves."""


@dataclass(frozen=True, slots=True)
class Broke:
    """It says that it cannot start, and why."""

    what: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Drained:
    """It says that it has finished and leaves, told to or not."""


@dataclass(frozen=True, slots=True)
class Lost:
    """It can no longer be spoken to, or does not keep to the protocol."""

    why: str


@dataclass(frozen=True, slots=True)
class Condemned:
    """It has taken more than it may, and is ended at once wherever it stands."""

    why: str


@dataclass(frozen=True, slots=True)
class TakenAlong:
    """It does not go on without another of its group that died, `why` in words, with so many crashes in a `row`.

    It ends as if told to, and starts again with the other: not before `until`; not by itself if that is None.
    """

    why: str
    until: float | None
    row: int


@dataclass(frozen=True, slots=True)
class Overran:
    """Something does not end, though its time is over or nobody waits for it: only force helps. `why` in words."""

    why: str
    hung: bool = False
    """Whether it is no call, but the whole worker that goes no further."""


@dataclass(frozen=True, slots=True)
class Exited:
    """Its process has ended, or could not be made. `dice` in [0, 1) is for the wait before the next one."""

    how: str
    dice: float = 0.5
    busy: bool = False
    """Whether a call was running: its death says more of the call than of the worker."""


@dataclass(frozen=True, slots=True)
class TimerRang:
    """The time it was given is over. `recovered`: what it was to be ended for is over, too."""

    recovered: bool = False
    held: bool = False
    """Whether another that was taken along has not ended yet: nobody starts before all have."""
    calls: float = 0.0
    """How long calls of its may still run, seconds."""


Event: TypeAlias = (
    Start | Stop | Hardened | Ready | Broke | Drained | Lost | Condemned | TakenAlong | Overran | Exited | TimerRang
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Make a process."""


@dataclass(frozen=True, slots=True)
class Greet:
    """Tell it who it is: the first secrets it gets."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell it to finish within `grace` seconds."""

    grace: float
    replaced: bool = False
    """Whether another has its place: nobody is in a hurry."""


@dataclass(frozen=True, slots=True)
class Dump:
    """Have it print the stacks of all its threads."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End its process without asking."""


@dataclass(frozen=True, slots=True)
class TakeAlong:
    """It crashed: have those end who do not go on without it. `until` and `row` are for them as they are for it."""

    until: float | None
    row: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Ring in so many seconds instead of whenever was asked for before; None: not at all."""

    seconds: float | None


Action: TypeAlias = Spawn | Greet | Drain | Dump | Kill | TakeAlong | SetTimer


@dataclass(frozen=True, slots=True)
class Spec:
    """What one worker is allowed. Seconds."""

    start_timeout: float = 120.0
    drain_timeout: float = 30.0
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    hung_timeout: float = 10.0
    """How long its event loop may stand still while it runs no call."""
    sign: str = ""
    """What is in a line that it writes once it is ready; empty: it says so itself."""
    stop_signal: int = 0
    """The signal by which its guard tells it to end; 0: it has none."""


@dataclass(frozen=True, slots=True)
class Child:
    """One worker, through all its lives. `reason` and `traceback` tell of the end of its last one."""

    spec: Spec
    state: State = State.DOWN
    wanted: bool = False
    hardened: bool = False
    row: int = 0
    up_since: float | None = None
    patience: float = 0.0
    """Until when it may drain for the sake of its calls; 0 if they have no more than its time to drain."""
    overran: bool = False
    """Whether it is ended for the sake of a call that did not end, for which it is not to blame."""
    leaving: bool = False
    """Whether it was draining, or said that it leaves, when that call was found."""
    along: str = ""
    """Why it ends although nothing is wrong with it: another did, without which it does not go on."""
    until: float | None = 0.0
    """If it was taken along: before when it is not started again; None: not by itself."""
    dumped: bool = False
    """Whether it has been made to print its stacks for being late: the next time it is ended."""
    verdict: str = ""
    """Why this life is over although its process is not; it counts more than how the process then ends."""
    reason: str = ""
    traceback: str = ""
    incurable: bool = False
    """Whether its last life ended with its own word that trying again would not help."""


Step: TypeAlias = tuple[Child, tuple[Action, ...]]
"""What a step makes of a worker, and what is to be done about it."""
