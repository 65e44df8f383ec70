"""What all who call a group saw of it in the last seconds, put together. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipc.histogram import BUCKETS, add, merged, quantile
from ipc.messages.control import Figures

if TYPE_CHECKING:
    from ipc.messages.lifeline import Seen

WINDOW = 10
"""How far back figures go, seconds."""
STALE = 3.0
"""After so many seconds a worker's word of who waits there does not count any more: it says so every second."""
MAX_CALLERS = 1024
"""How many workers are listened to at once."""


@dataclass(slots=True)
class _Second:
    number: int = -1
    waits: list[int] = field(default_factory=list)
    took: list[int] = field(default_factory=list)


class Sightings:
    """Of one group. A fixed amount of memory, however much is told."""

    def __init__(self) -> None:
        self._seconds = [_Second() for _ in range(WINDOW + 1)]
        self._lines: dict[str, tuple[float, int, float]] = {}
        self._began = 0.0

    def add(self, caller: str, seen: Seen, now: float) -> None:
        """Take what a worker tells."""
        if not self._in_window(now):
            self._began = now - 1.0  # of what it tells of
        second = self._seconds[int(now) % len(self._seconds)]
        if second.number != int(now):
            second.number, second.waits, second.took = int(now), [0] * BUCKETS, [0] * BUCKETS
        add(second.waits, seen.waits)
        add(second.took, seen.took)
        if caller in self._lines or len(self._lines) < MAX_CALLERS:
            self._lines[caller] = now, seen.waiting, seen.oldest

    def figures(self, now: float) -> Figures | None:
        """What is known; None if there is nothing."""
        seconds, waiting = self._in_window(now), sum(waiting for waiting, _ in self._waiting(now))
        if not seconds and not waiting:
            return None
        waits = merged(second.waits for second in seconds)
        took = merged(second.took for second in seconds)
        return Figures(
            calls_per_second=round(sum(took) / max(1.0, min(float(WINDOW), now - self._began)), 3),
            wait_p50_ms=_ms(quantile(waits, 0.5)),
            wait_p99_ms=_ms(quantile(waits, 0.99)),
            latency_p50_ms=_ms(quantile(took, 0.5)),
            latency_p99_ms=_ms(quantile(took, 0.99)),
            waiting=waiting,
        )

    def wait(self, part: float, span: float, now: float) -> float:
        """What `part` of the calls of the last `span` seconds did not exceed, or how long somebody waits now."""
        waits = merged(second.waits for second in self._in_window(now) if second.number > now - span)
        return max(quantile(waits, part), max((oldest for _, oldest in self._waiting(now)), default=0.0))

    def _in_window(self, now: float) -> list[_Second]:
        return [second for second in self._seconds if second.number > now - WINDOW]

    def _waiting(self, now: float) -> list[tuple[int, float]]:
        self._lines = {caller: line for caller, line in self._lines.items() if line[0] > now - STALE}
        return [(waiting, oldest) for _, waiting, oldest in self._lines.values()]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
