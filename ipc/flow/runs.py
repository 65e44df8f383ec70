"""How long the calls of one node take, learnt from those that were answered. Pure: time is an argument."""

from __future__ import annotations

TRUST_FOR = 10.0
"""What is known of a node is believed for so long after its last answer, seconds, and for longer if its calls take
long. After that its calls are let through again, so that a node that has become quick is found out."""
TRUST_RUNS = 4
SURPRISE = 4
"""One call counts as no more than this many usual ones: a single long one says little about the next."""


class Runs:
    """Mean and spread, as TCP keeps them of its round trips (RFC 6298)."""

    __slots__ = ("_at", "_mean", "_spread")

    def __init__(self, took: float, now: float) -> None:
        self._mean, self._spread, self._at = took, took / 2, now

    def learn(self, took: float, now: float) -> None:
        """One more call was answered, after `took` seconds."""
        if not self._believed(now):
            self._mean, self._spread = took, took / 2
        else:
            off = min(took, SURPRISE * (self._mean + self._spread)) - self._mean
            self._mean += off / 8
            self._spread += (abs(off) - self._spread) / 4
        self._at = now

    def usually(self, now: float) -> float:
        """How long a call takes, seconds; 0 if nothing is known that could be believed."""
        return self._mean if self._believed(now) else 0.0

    def nearly_always(self, now: float) -> float:
        """What hardly a call exceeds, seconds; 0 as above."""
        return self._mean + 3 * self._spread if self._believed(now) else 0.0

    def _believed(self, now: float) -> bool:
        return now - self._at <= max(TRUST_FOR, TRUST_RUNS * self._mean)
