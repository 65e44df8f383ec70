"""The calls that an exec worker has, those that run and those that are held: what its threads share."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from exec_worker.admission import Admission
from exec_worker.asked_batch import AskedBatch
from exec_worker.batches import Batches, Turn

if TYPE_CHECKING:
    from exec_worker.asked import AskedCall
    from exec_worker.batches import Outcome
    from exec_worker.engine import Engine
    from ipc.link import Link
    from ipc.scoreboard import Scoreboard


class Underway:
    """To be touched under its lock, which is never held while anything is run or waited for."""

    def __init__(self, engine: Engine, scoreboard: Scoreboard, slots: int) -> None:
        self.lock = Lock()
        self.admission: Admission[AskedCall | Turn[AskedCall]] = Admission(slots)
        self.batches: Batches[AskedCall] = Batches(self.admission, engine.batched)
        self.batched = bool(engine.batched)
        """Whether any node runs several calls together."""
        self.calls: dict[bytes, AskedCall] = {}
        self.clients: set[Link] = set()
        """The web workers that have asked for something."""
        self.scoreboard = scoreboard

    def note(self, outcome: Outcome[AskedCall]) -> tuple[Outcome[AskedCall], AskedCall | AskedBatch | None]:
        """Count what begins, and forget what is too late; returns what a lane is to run, too."""
        for late in outcome.expired:
            del self.calls[late.id]
        start = outcome.start
        if start is None:
            return outcome, None
        if isinstance(start, Turn):
            for _ in start.calls:
                self.scoreboard.begin()
            return outcome, AskedBatch(start)
        self.scoreboard.begin()
        return outcome, start
