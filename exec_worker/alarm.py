"""One timer for everything that is to be looked at later."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from ipc.clock import now

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.001
"""The shortest wait of a loop's timer, seconds."""


class Alarm:
    """Rings once, at the earliest of the times it was set to; then it is to be set again."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf
        self.loop: asyncio.AbstractEventLoop | None = None
        """That of the thread in which it rings, once it was set."""

    def set(self, when: float) -> None:
        """Ring then, monotonic seconds, or before."""
        if when >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = when
        loop = self.loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(TICK, when - now()), self._due)

    def _due(self) -> None:
        self._timer, self._at = None, math.inf
        self._ring()
