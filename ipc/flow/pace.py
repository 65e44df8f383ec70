"""How fast a line of waiting calls moves, learnt from those that left it. Pure: time is an argument."""

from __future__ import annotations

MEMORY = 64
"""After so many calls what was seen counts half."""
FEW = 8
"""Fewer calls than this say little: until then the line is thought to be that much faster than it looks."""
BUSY_HERE = 0.5
"""So much silence says nothing of the workers, seconds: this process may just have been busy with those that came."""
FORGET_AFTER = 10.0
"""What was seen before a pause of this length is forgotten, seconds."""


class Pace:
    """Time that passed while somebody waited, against how many were taken in it.

    A long silence since the last one counts as time too: a line that has stopped looks slower and slower, and whoever
    shares the workers, be it another web worker or a higher class, is in the figure without being known.
    """

    __slots__ = ("_mark", "_taken", "_time")

    def __init__(self) -> None:
        self._mark = self._time = 0.0
        self._taken = 0

    def begins(self, now: float) -> None:
        """Somebody waits, after nobody did."""
        if now - self._mark > FORGET_AFTER:
            self._time, self._taken = 0.0, 0
        self._mark = now

    def took(self, now: float) -> None:
        """One was taken."""
        self._time += now - self._mark
        self._mark = now
        self._taken += 1
        if self._taken >= MEMORY:
            self._time /= 2
            self._taken //= 2

    def untook(self) -> None:
        """One that was taken is back, or was not worth taking: the line has not moved."""
        if self._taken:
            self._taken -= 1

    def each(self, now: float, workers: int) -> float:
        """How long until the next one is taken, on average, while somebody waits; seconds."""
        taken = self._taken if self._taken >= FEW else max(FEW, workers)
        return (self._time + max(0.0, now - self._mark - BUSY_HERE)) / taken
