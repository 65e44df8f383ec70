"""The end of a call, in the lane that ran it: its slot is free, others hear of that, it is answered.

A lane seals and writes the reply itself: handing it back to the I/O thread would cost as much again as the call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from exec_worker.answering import Answering
from exec_worker.answers import tell_others
from exec_worker.asked_batch import AskedBatch
from exec_worker.staged import StagedCall
from ipc.clock import now
from ipc.messages.calls import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from exec_worker.admission import Next
    from exec_worker.asked import AskedCall
    from exec_worker.batches import Outcome, Turn
    from exec_worker.binding import Encoded
    from exec_worker.engine import Engine, Failure
    from exec_worker.lane import Answers
    from exec_worker.rows import Rows
    from exec_worker.underway import Underway

# As a plain number: looking up a member of an enumeration costs more than what it is for.
_SLOT_KEPT = int(Flag.READY)


class Finishing:
    """What the lanes have in common. `look` has the I/O thread look at the batches that wait for company."""

    def __init__(self, underway: Underway, engine: Engine, rows: Rows, look: Callable[[], object]) -> None:
        self._rows, self._look = rows, look
        self._answer = Answering(engine, rows)
        # Every call comes by here: what it needs is at hand.
        self._lock, self._calls, self._clients = underway.lock, underway.calls, underway.clients
        self._admission, self._scoreboard = underway.admission, underway.scoreboard
        self._batches, self._batched, self._note = underway.batches, underway.batched, underway.note

    def finish(
        self, run: AskedCall | AskedBatch, result: Encoded | Failure | Answers | None, began: float
    ) -> AskedCall | AskedBatch | None:
        """Answer a call that is over, or was not begun (None), or those of a batch; returns what is next."""
        if isinstance(run, AskedBatch):
            return self._finish_batch(run, result, began)  # type: ignore[arg-type]
        if isinstance(run, StagedCall):
            if self._rows.next_here(run, result):  # type: ignore[arg-type]
                return run
            self._rows.over(run)
        ended = now()
        with self._lock:
            self._scoreboard.end()
            del self._calls[run.id]
            following = self._admission.finished(run, ended)
            outcome, started = self._follow(following, ended)
            room = self._admission.room(len(self._clients))
        flags = _SLOT_KEPT if outcome.offer is run.client and result is not None else 0
        tell_others(outcome, told=bool(flags))
        self._answer(run, result, room, (began, ended), flags)  # type: ignore[arg-type]
        return started

    def _finish_batch(self, batch: AskedBatch, answers: Answers, began: float) -> AskedCall | AskedBatch | None:
        ended = now()
        for call, _ in answers:
            if isinstance(call, StagedCall):
                self._rows.over(call)
        with self._lock:
            for call, _ in answers:
                self._scoreboard.end()
                del self._calls[call.id]
            if batch.calls:
                self._batches.ran(batch.turn.node, len(batch.calls), ended - began)
            outcome, started = self._follow(self._admission.finished(batch.turn, ended), ended)
            room = self._batches.room(batch.turn.node, len(self._clients))
        tell_others(outcome)
        for call, result in answers:
            self._answer(call, result, room, (began, ended), 0)
        return started

    def _follow(
        self, following: Next[AskedCall | Turn[AskedCall]], time: float
    ) -> tuple[Outcome[AskedCall], AskedCall | AskedBatch | None]:
        """What follows the end of a call; under the lock."""
        if not self._batched:
            return self._note(following)  # type: ignore[arg-type]  # the same, where there are no turns
        outcome = self._batches.follow(following, time)
        if self._batches.due(time) < math.inf:
            self._look()
        return self._note(outcome)
