"""A place in a group, and the names of those who have sat there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ipc.names import WorkerName


@dataclass(slots=True)
class Seat:
    """A place in a group. Whoever sits there, predecessor or successor, takes the next number."""

    group: str
    slot: int
    lives: int = 0

    def next_name(self) -> WorkerName:
        """A name nobody has had."""
        self.lives += 1
        return WorkerName(self.group, self.slot, self.lives)
