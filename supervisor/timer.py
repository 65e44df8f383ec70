"""A clock that stands still while this process does: whoever was stopped blames nobody for the time that passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

SLICE = 1.0
"""The most that one sleep counts, seconds, however long it was."""


class Timer:
    """Calls `ring` once, when this process has run for so many seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, ring: Callable[[], None]) -> None:
        self.left = seconds
        """How much is left, as far as it has been counted; seconds."""
        self._loop = loop
        self._ring = ring
        self._sleep()

    def cancel(self) -> None:
        """Never ring."""
        self._handle.cancel()

    def _sleep(self) -> None:
        part = min(self.left, SLICE)
        self._handle = self._loop.call_later(part, self._wake, part)

    def _wake(self, part: float) -> None:
        self.left -= part
        if self.left > 0:
            self._sleep()
        else:
            self._ring()
