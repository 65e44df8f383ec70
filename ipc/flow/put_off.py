"""Calls that a worker cannot take yet, though it may take others: they are tried again a little later. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 16
"""How often one call is put off; then nobody takes it. All in all that is some six seconds."""
FIRST, LONGEST = 0.02, 0.5
"""After how long it is tried again: at first, and at most, seconds. It doubles each time."""


class Named(Protocol):
    """What has to be known of a call."""

    id: bytes


C = TypeVar("C", bound=Named)


class PutOff(Generic[C]):
    """Of each such call how often that was, and when it is due."""

    def __init__(self) -> None:
        self._calls: dict[bytes, tuple[C, int, float]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: C, now: float) -> bool:
        """Put it off, once more perhaps; False if it has been often enough."""
        _, tries, _ = self._calls.pop(call.id, (call, 0, 0.0))
        if tries >= TRIES:
            return False
        self._calls[call.id] = call, tries + 1, now + min(LONGEST, FIRST * 2**tries)
        return True

    def due(self, now: float, waits: Callable[[C], bool]) -> list[C]:
        """Those to be tried again now. Calls for which nobody `waits` any more are forgotten."""
        due = []
        for call, tries, when in list(self._calls.values()):
            if not waits(call):
                del self._calls[call.id]
            elif when <= now:
                self._calls[call.id] = call, tries, math.inf
                due.append(call)
        return due
