"""Joins links, admission and lanes: takes calls in, hands them over, answers.

The I/O thread hears, lanes run and answer. They share the admission, under one lock that is never held while anything
is run or waited for. A lane seals and writes the reply itself: handing it back to the loop would cost as much again as
the call.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from exec_worker.admission import GIVE_BACK_AFTER, KEEP_SLOT, Admission, Verdict
from exec_worker.answering import Answering
from exec_worker.answers import not_started
from exec_worker.asked import AskedCall
from exec_worker.asked_batch import AskedBatch
from exec_worker.batches import Batches, Turn
from exec_worker.node import BatchCall
from exec_worker.rows import Rows
from exec_worker.staged import StagedCall
from ipc.clock import now
from ipc.decoding.limits import UNREADABLE
from ipc.link import Link
from ipc.messages.calls import Flag, Kind, NotStarted, decode_request
from ipc.wire.frame import Frame, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from exec_worker.admission import Next
    from exec_worker.batches import Outcome
    from exec_worker.binding import Encoded
    from exec_worker.engine import Engine, Failure
    from exec_worker.lane import Answers, Lanes
    from ipc.scoreboard import Scoreboard

# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REQUEST, _CANCEL, _DECLINE = int(Kind.REQUEST), int(Kind.CANCEL), int(Kind.DECLINE)
_WANTED = int(Kind.WANTED)
_READY, _LAST_RESORT, _SLOT_KEPT = int(Kind.READY), int(Flag.LAST_RESORT), int(Flag.READY)
_AGAIN = int(Flag.AGAIN)
TICK = 0.001
"""The shortest wait of a loop's timer, seconds."""
_REASON = {
    Verdict.EXPIRED: NotStarted.EXPIRED,
    Verdict.DRAINING: NotStarted.DRAINING,
}


class Service:
    """What one exec worker does with what it is asked."""

    def __init__(self, engine: Engine, scoreboard: Scoreboard, lanes: Lanes, rows: Rows | None = None) -> None:
        self._engine = engine
        self._scoreboard = scoreboard
        self._lanes = lanes
        self.rows = rows or Rows(engine)
        """The pipelines that lead through here."""
        self._answer = Answering(engine, self.rows)
        self._lock = Lock()
        self._admission: Admission[AskedCall | Turn[AskedCall]] = Admission(lanes.slots)
        self._batches: Batches[AskedCall] = Batches(self._admission, engine.batched)
        self._batched = bool(engine.batched)
        self._calls: dict[bytes, AskedCall] = {}  # those that run and those that are held
        self._clients: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf  # when the timer rings
        self._loop: asyncio.AbstractEventLoop | None = None  # the I/O thread's

    # -- the I/O thread

    def heard(self, link: Link, frame: Frame) -> None:
        """A web worker says something."""
        if frame.kind == _REQUEST and link.ending:
            not_started(link, frame.call_id, NotStarted.DRAINING)
            self._declined(link)
        elif frame.kind == _REQUEST:
            self._clients.add(link)
            try:
                self._request(link, frame)
            except UNREADABLE:
                raise Refuse(Refusal.DECODE) from None
        elif frame.kind == _CANCEL:
            self._cancel(link, frame.call_id)
        elif frame.kind == _DECLINE:
            self._declined(link)
        elif frame.kind == _WANTED:
            if frame.call_id not in self._calls:
                self.rows.deny(link, frame.call_id)
        else:
            link.close()

    def stale(self, link: Link, frame: Frame) -> None:
        """It was said long ago: a node kept this process to itself. A call is not begun any more; the rest holds."""
        if frame.kind == _REQUEST:
            not_started(link, frame.call_id, NotStarted.EXPIRED)
            self._declined(link)
        else:
            self.heard(link, frame)

    def ended(self, link: Link) -> None:
        """A web worker is gone: nobody waits for what it asked."""
        self._clients.discard(link)
        time = now()
        with self._lock:
            other = self._admission.gone(link, time)
            running = self._admission.running
            begun = {call for call in self._calls.values() if call.batch is not None or call in running}
            left = [call for call in begun if call.waits(link)]
            dropped = [call for call in self._calls.values() if call.client is link and call not in begun]
            for call in dropped:
                del self._calls[call.id]
            noted = [self._note(outcome) for outcome in self._batches.gone(link, time)]
        for call in left:
            self._lanes.leave(call)
        for call in dropped:
            self.rows.dropped(call)
        self.rows.left(link)
        _tell_ready(other)
        for each in noted:
            self._carry_out(*each)

    def drain(self) -> None:
        """Take nothing more: the lanes end once what runs is over and answered."""
        with self._lock:
            held = [call for call in self._admission.drain() if not isinstance(call, Turn)]
            held += self._batches.drain(now())
            for call in held:
                del self._calls[call.id]
        for call in held:
            not_started(call.client, call.id, NotStarted.DRAINING)
        self._lanes.close()

    def _request(self, link: Link, frame: Frame) -> None:
        meta = decode_request(frame.meta)
        origin: Link | None = link
        if meta.reply_to != link.state:
            origin = self.rows.origin(link, meta, frame.call_id)
        arrived = now()
        grace = self._engine.cancel_grace(meta.node)
        if origin is None or grace is None or frame.call_id in self._calls:
            # Whose origin is not here yet may be taken by others, or later.
            unknown = origin is not None and grace is None
            self._turn_away(link, frame.call_id, NotStarted.UNKNOWN_NODE if unknown else NotStarted.NOT_YET)
            return
        make: Callable[..., AskedCall] = AskedCall if origin is link and not meta.rest else partial(StagedCall, origin)
        call = make(
            link,
            frame.call_id,
            meta,
            frame.body,
            arrived + (frame.budget_ms - frame.age_ms) / 1000,
            arrived,
            bool(frame.flags & _LAST_RESORT),
            grace,
        )
        if self._batched and meta.node in self._batches:
            if not frame.flags & _AGAIN:
                self._gather(call)
                return
            call.seen = BatchCall((call.seen,))  # the only one of its batch
        with self._lock:
            verdict = self._admission.arrive(call, arrived)
            if verdict is Verdict.START:
                self._calls[call.id] = call
                self._scoreboard.begin()
            elif verdict is Verdict.HOLD:
                self._calls[call.id] = call
            elif verdict is Verdict.BUSY:
                # Under the lock: READY must not overtake it, or the asker would wait for a READY that has been.
                not_started(link, call.id, NotStarted.BUSY)
        if verdict is Verdict.START:
            self._lanes.put(call)
            self._watch(call.deadline)
        else:
            self._set_aside(call, verdict)

    def _turn_away(self, link: Link, call_id: bytes, reason: NotStarted) -> None:
        """A call that is not to run here, or runs already.

        A second run may meet its first, if whoever sends it has lost sight of that with a link; never on one link.
        """
        first = self._calls.get(call_id)
        if first is not None and first.client is link:
            raise Refuse(Refusal.UNAUTHORISED)
        not_started(link, call_id, reason)
        self._declined(link)

    def _gather(self, call: AskedCall) -> None:
        """A call of a node that runs several together."""
        with self._lock:
            verdict = self._batches.arrive(call.meta.node, call, call.arrived)
            if verdict in (Verdict.START, Verdict.HOLD):
                self._calls[call.id] = call
            elif verdict is Verdict.BUSY:
                not_started(call.client, call.id, NotStarted.BUSY)  # under the lock: see above
        if verdict is Verdict.START:
            self._look_at_batches()
        else:
            self._set_aside(call, verdict)

    def _look_at_batches(self) -> None:
        """Have those run that wait for company no longer, and look again when others do not."""
        while True:
            time = now()
            with self._lock:
                outcome = self._batches.look(time)
                if outcome is None:
                    due = self._batches.due(time)
                    break
                noted = self._note(outcome)
            self._carry_out(*noted)
        if due < math.inf:
            self._watch(due)

    def _set_aside(self, call: AskedCall, verdict: Verdict) -> None:
        """A call that does not run now."""
        if verdict is Verdict.HOLD:
            self._watch(min(call.arrived + GIVE_BACK_AFTER, call.deadline))
        elif verdict is Verdict.BUSY:
            self._watch(call.arrived + KEEP_SLOT)
        else:
            not_started(call.client, call.id, _REASON[verdict])
            self._declined(call.client)  # if a slot was kept for this call, others need not wait for the next

    def _carry_out(self, outcome: Outcome[AskedCall], started: AskedCall | AskedBatch | None) -> None:
        """Do what follows from what was said, or from the passing of time."""
        if started is not None:
            self._lanes.put(started)
            self._watch(started.deadline)
        self._tell_others(outcome)

    def _declined(self, link: Link) -> None:
        with self._lock:
            other = self._admission.declined(link, now())
        _tell_ready(other)

    def _cancel(self, link: Link, call_id: bytes) -> None:
        with self._lock:
            call = self._calls.get(call_id)
            noted, held = None, False
            if call is not None:
                if call.client is not link and not call.waits(link):
                    return
                # One that runs alone has itself as its only item.
                alone = bool(call.seen.items)
                gathered = self._batched and call.batch is None and call.meta.node in self._batches and not alone
                if gathered:
                    noted = self._note(self._batches.withdraw(call.meta.node, call, now()))
                if held := gathered or self._admission.cancel(call):
                    del self._calls[call_id]
        if call is None:
            self.rows.left(link, call_id)
        elif held:
            not_started(call.client, call_id, NotStarted.CANCELLED)
        else:
            self._lanes.leave(call)
        if noted is not None:
            self._carry_out(*noted)

    def _watch(self, when: float) -> None:
        """Look again then: one timer for deadlines, calls that are held, the slot that is kept and all who wait."""
        if when >= self._look_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._look_at = when
        loop = self._loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(TICK, when - now()), self._look)

    def _look(self) -> None:
        self._timer, self._look_at = None, math.inf
        time = now()
        with self._lock:
            for returned in self._admission.give_back(time):
                for call in self._batches.disband(returned, time) if isinstance(returned, Turn) else (returned,):
                    del self._calls[call.id]
                    not_started(call.client, call.id, NotStarted.BUSY)
            others = self._admission.overdue(time)
            again = self._admission.waits_for_time
            expired = [call for call in self._admission.running if call.deadline <= time]  # turns that wait have none
            soon = min((call.deadline for call in self._calls.values() if call.deadline > time), default=math.inf)
        for other in others:
            _tell_ready(other)
        for run in expired:
            self._lanes.expire(_batch_of(run) if isinstance(run, Turn) else run)
        soon = min(soon, math.inf if again is None else time + again)
        if soon < math.inf:
            self._watch(soon)
        if self._batched:
            self._look_at_batches()

    # -- a lane

    def finish(
        self, run: AskedCall | AskedBatch, result: Encoded | Failure | Answers | None, began: float
    ) -> AskedCall | AskedBatch | None:
        """Answer a call that is over, or was not begun (None), or those of a batch; returns what is next."""
        if isinstance(run, AskedBatch):
            return self._finish_batch(run, result, began)  # type: ignore[arg-type]
        if isinstance(run, StagedCall):
            if self.rows.next_here(run, result):  # type: ignore[arg-type]
                return run
            self.rows.over(run)
        ended = now()
        with self._lock:
            self._scoreboard.end()
            del self._calls[run.id]
            following = self._admission.finished(run, ended)
            outcome, started = self._follow(following, ended)
            room = self._admission.room(len(self._clients))
        flags = _SLOT_KEPT if outcome.offer is run.client and result is not None else 0
        self._tell_others(outcome, told=bool(flags))
        self._answer(run, result, room, (began, ended), flags)  # type: ignore[arg-type]
        return started

    def _finish_batch(self, batch: AskedBatch, answers: Answers, began: float) -> AskedCall | AskedBatch | None:
        ended = now()
        for call, _ in answers:
            if isinstance(call, StagedCall):
                self.rows.over(call)
        with self._lock:
            for call, _ in answers:
                self._scoreboard.end()
                del self._calls[call.id]
            if batch.calls:
                self._batches.ran(batch.turn.node, len(batch.calls), ended - began)
            outcome, started = self._follow(self._admission.finished(batch.turn, ended), ended)
            room = self._batches.room(batch.turn.node, len(self._clients))
        self._tell_others(outcome)
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
        if self._loop is not None and self._batches.due(time) < math.inf:
            self._loop.call_soon_threadsafe(self._look_at_batches)
        return self._note(outcome)

    def _note(self, outcome: Outcome[AskedCall]) -> tuple[Outcome[AskedCall], AskedCall | AskedBatch | None]:
        """Count what begins, and forget what is too late; returns what a lane is to run, too. Under the lock."""
        for late in outcome.expired:
            del self._calls[late.id]
        start = outcome.start
        if start is None:
            return outcome, None
        if isinstance(start, Turn):
            for _ in start.calls:
                self._scoreboard.begin()
            return outcome, AskedBatch(start)
        self._scoreboard.begin()
        return outcome, start

    def _tell_others(self, outcome: Outcome[AskedCall], *, told: bool = False) -> None:
        """Tell those that are too late, and who is next unless that was `told`.

        Before any answer: until the next call is here its lane has nothing to do.
        """
        for late in outcome.expired:
            not_started(late.client, late.id, NotStarted.EXPIRED)
        if not told:
            _tell_ready(outcome.offer)


def _batch_of(turn: Turn[AskedCall]) -> AskedBatch:
    """The batch that a turn has become."""
    batch = turn.calls[0].batch
    assert batch is not None  # noqa: S101 - it was made when the turn began
    return batch


def _tell_ready(client: object | None) -> None:
    if isinstance(client, Link):
        client.send(_READY)
