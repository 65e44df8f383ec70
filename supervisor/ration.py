"""How many workers of a group may be ended because callers have left: callers do as they please. Pure."""

from __future__ import annotations

PACE = 1.0
"""Ends a second that a group is allowed in the long run."""
LEAST_BURST = 2
"""Ends that any group may have saved up; one with more workers as many as it has workers."""


class Ration:
    """One bucket of tokens for each group, full at first."""

    def __init__(self) -> None:
        self._had: dict[str, tuple[float, float]] = {}  # by group: tokens, and when that was

    def take(self, group: str, workers: int, time: float) -> bool:
        """Whether one more of its `workers` may be ended now; then that is one less."""
        most = float(max(workers, LEAST_BURST))
        tokens, since = self._had.get(group, (most, time))
        tokens = min(tokens + (time - since) * PACE, most)
        allowed = tokens >= 1.0
        self._had[group] = tokens - allowed, time
        return allowed
