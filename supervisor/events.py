"""What can happen to a service, as types: output, logs and progress hear of it through a `hub`.

`str(event)` is one sentence for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Stream: TypeAlias = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class GroupStarting:
    """A group's workers are being started."""

    group: str
    workers: int

    def __str__(self) -> str:
        return f"{self.group}: starting {self.workers} worker{'s' if self.workers != 1 else ''}"


@dataclass(frozen=True, slots=True)
class WorkerSpawned:
    """A process was made; it is not ready yet."""

    worker: str
    pid: int

    def __str__(self) -> str:
        return f"{self.worker}: started as process {self.pid}"


@dataclass(frozen=True, slots=True)
class WorkerExposed:
    """The kernel did not grant a worker every protection."""

    worker: str
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.worker}: less protected than it should be: {'; '.join(self.missing)}"


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker serves, so many seconds after its process was made."""

    worker: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.worker}: ready after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class WorkerRecycled:
    """A worker has used up what it may, or somebody asked: it is being replaced, and its successor comes first."""

    worker: str
    reason: str

    def __str__(self) -> str:
        return f"{self.worker}: is being replaced ({self.reason})"


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """A worker finishes what it has and takes nothing new; `reason` if that is for another's sake."""

    worker: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.worker}: draining ({self.reason})" if self.reason else f"{self.worker}: draining"


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """A worker's process has ended. `expected`: it had been told to, or had said that it would."""

    worker: str
    reason: str
    expected: bool
    traceback: str = ""
    """What a worker that could not start told about it."""
    last_words: tuple[str, ...] = ()
    """The last lines it wrote to its standard error."""

    def __str__(self) -> str:
        return f"{self.worker}: {self.reason}"


@dataclass(frozen=True, slots=True)
class WorkerRestarting:
    """A worker that ended is started again in `after` seconds; `reason` says what has to be so first, if anything."""

    worker: str
    after: float
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.worker}: starts again once {self.reason}, and not before {self.after:.1f} s are over"
        return f"{self.worker}: starts again in {self.after:.1f} s"


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """A worker ended too often and is not started again before somebody asks for it."""

    worker: str
    reason: str
    crashes: int = 0
    """In a row; some may have been those of a worker without which it does not go on."""

    def __str__(self) -> str:
        after = f" after {self.crashes} crashes in a row" if self.crashes > 1 else ""
        return f"{self.worker}: given up{after} ({self.reason})"


@dataclass(frozen=True, slots=True)
class GroupUp:
    """All workers of a group serve, or at its first start as many as can; seconds since they did not."""

    group: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.group}: up after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class GroupFailed:
    """No worker of a group serves, and none is started again by itself."""

    group: str
    reason: str

    def __str__(self) -> str:
        told = f"failed: no worker is left, and none starts by itself ({self.reason})"
        return f"{self.group}: {told}; when that is mended: shunter restart {self.group}"


@dataclass(frozen=True, slots=True)
class GroupScaled:
    """A group is to have another number of workers than `before`."""

    group: str
    before: int
    workers: int
    reason: str = ""

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.group}: from {self.before} to {self.workers} worker{'s' if self.workers != 1 else ''}{why}"


@dataclass(frozen=True, slots=True)
class Serving:
    """The first start is over: every group is up. Where HTTP is spoken, if a web group runs."""

    host: str
    port: int
    seconds: float

    def __str__(self) -> str:
        where = f" on {self.host}:{self.port}" if self.port else ""
        return f"serving{where} after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Reloading:
    """The configuration is being read again."""

    def __str__(self) -> str:
        return "reloading"


@dataclass(frozen=True, slots=True)
class WillChange:
    """What a reload is about to do with a group, or a warning of what comes of it."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What the configuration and the application are now is what runs; seconds since that was asked."""

    seconds: float

    def __str__(self) -> str:
        return f"reloaded after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """The configuration was read again, and cannot be had. Says whether anything was changed nevertheless."""

    reason: str

    def __str__(self) -> str:
        return f"not reloaded: {self.reason.removeprefix('error: ')}"


@dataclass(frozen=True, slots=True)
class KeysRotated:
    """Every worker has the keys of a new epoch, and nobody those before; seconds since that began."""

    epoch: int
    seconds: float

    def __str__(self) -> str:
        return f"keys: epoch {self.epoch} is in use after {self.seconds:.2f} s, those before are forgotten"


@dataclass(frozen=True, slots=True)
class Draining:
    """The service stops; `forced`: without waiting for calls under way."""

    forced: bool

    def __str__(self) -> str:
        return "stopping at once" if self.forced else "draining"


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing of the service is left but its supervisor."""

    def __str__(self) -> str:
        return "stopped"


@dataclass(frozen=True, slots=True)
class LineWritten:
    """A worker wrote a line, or a traceback of several. Control characters are shown, not kept: it is safe to print."""

    worker: str
    stream: Stream
    text: str
    requests: tuple[str, ...] = ()
    """Those for which it was printed, if that is known: several of a batch."""

    def __str__(self) -> str:
        return f"{self.worker}: {self.text}"


@dataclass(frozen=True, slots=True)
class LinesLost:
    """A group's log file could not be written; the service goes on."""

    group: str
    why: str

    def __str__(self) -> str:
        return f"{self.group}: log lines are being lost: {self.why}"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something in the supervisor itself went wrong, and it goes on."""

    what: str

    def __str__(self) -> str:
        return self.what


Event: TypeAlias = (
    GroupStarting
    | WorkerSpawned
    | WorkerExposed
    | WorkerReady
    | WorkerRecycled
    | WorkerDraining
    | WorkerExited
    | WorkerRestarting
    | WorkerFailed
    | GroupUp
    | GroupFailed
    | GroupScaled
    | Serving
    | Reloading
    | WillChange
    | Reloaded
    | NotReloaded
    | KeysRotated
    | Draining
    | Stopped
    | LineWritten
    | LinesLost
    | Trouble
)
