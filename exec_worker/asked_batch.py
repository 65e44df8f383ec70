"""Calls that run together, as an exec worker has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exec_worker.asked import AskedCall
    from exec_worker.batches import Turn
    from exec_worker.interrupts import Interrupted
    from exec_worker.node import BatchCall
    from exec_worker.window import Window


class AskedBatch:
    """To a lane it is one call. It may run for as long as the last of its calls has time, and while anybody waits."""

    __slots__ = ("calls", "deadline", "interrupt", "seen", "turn", "window")

    def __init__(self, turn: Turn[AskedCall]) -> None:
        self.turn = turn
        self.calls = turn.calls
        self.deadline = turn.deadline
        self.window: Window | None = None
        """That of the lane it runs in."""
        self.interrupt: type[Interrupted] | None = None
        """What is raised in its node, or was."""
        self.seen: BatchCall | None = None
        """What `current()` gives."""
        for call in self.calls:
            call.batch = self

    @property
    def deserted(self) -> bool:
        """Whether everybody who waited for it has left."""
        return all(call.seen.cancelled for call in self.calls)
