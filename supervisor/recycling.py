"""When a worker has used up what it may have: replaced by a fresh one, or killed. Pure: no clock, no /proc, no dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.sizes import in_units

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK_EVERY = 1.0
"""How often it is looked at what workers use, seconds."""
RETRY_AFTER = 30.0
"""How long a group is left alone after a successor did not come up, seconds."""
KILL_AT = 1.25
"""The memory at which a worker is killed where nothing is said, in parts of that at which it is replaced."""


@dataclass(frozen=True, slots=True)
class Used:
    """What one life of a worker has used so far."""

    name: str
    calls: int
    memory: int
    """Bytes that nobody has back before it ends."""
    dice: float = 0.5
    """In [0, 1), and the same through its whole life."""
    seated: bool = True
    """Whether it serves and has a seat: neither on trial nor on its way out."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of whom, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Recycling:
    """How much one life of a worker may use. None: as much as it likes."""

    max_requests: int | None = None
    jitter: float = 0.1
    """By how much of themselves requests may be fewer, so that the workers of a group do not come to them at once."""
    max_memory: int | None = None
    kill_memory: int | None = None

    def __bool__(self) -> bool:
        return self.max_requests is not None or self.max_memory is not None

    def to_kill(self, workers: Iterable[Used]) -> list[Verdict]:
        """Those that are ended at once, wherever they stand."""
        most = self.kill_memory
        if most is None:
            return []
        return [
            Verdict(worker.name, f"{in_units(worker.memory)} of memory, max_memory_kill is {in_units(most)}")
            for worker in workers
            if worker.memory > most
        ]

    def to_replace(self, workers: Iterable[Used]) -> Verdict | None:
        """The one that is most in need of a successor, if any is: one at a time, and never for what it began with."""
        needy = [
            (*need, worker.name)
            for worker in workers
            if worker.seated and worker.calls and (need := self._need(worker)) is not None
        ]
        if not needy:
            return None
        _, why, name = max(needy)
        return Verdict(name, why)

    def _need(self, worker: Used) -> tuple[float, str] | None:
        """How urgent a successor is, and why; None if it is not."""
        if self.max_memory is not None and worker.memory > self.max_memory:
            used = f"{in_units(worker.memory)} of memory, max_memory is {in_units(self.max_memory)}"
            return worker.memory / self.max_memory + 1.0, used  # more urgent than any number of requests just passed
        if self.max_requests is not None and worker.calls >= self.enough(worker.dice):
            used = f"{worker.calls:,} requests, max_requests is {self.max_requests:,}"
            return worker.calls / self.max_requests, used
        return None

    def enough(self, dice: float) -> int:
        """After how many requests a worker is replaced."""
        assert self.max_requests is not None  # noqa: S101 - asked only where there is a bound
        return max(1, round(self.max_requests * (1.0 - self.jitter * dice)))
