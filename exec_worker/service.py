"""What an exec worker does with what web workers say: takes calls in, hands them to its lanes, gives them back.

This is the I/O thread's; how a call ends is the lane's (`finishing`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from exec_worker.admission import GIVE_BACK_AFTER, KEEP_SLOT, Verdict
from exec_worker.alarm import Alarm
from exec_worker.answers import not_started, tell_others, tell_ready
from exec_worker.asked import AskedCall
from exec_worker.batches import Turn
from exec_worker.finishing import Finishing
from exec_worker.node import BatchCall
from exec_worker.rows import Rows
from exec_worker.staged import StagedCall
from exec_worker.underway import Underway
from ipc.clock import now
from ipc.decoding.limits import UNREADABLE
from ipc.messages.calls import Flag, Kind, NotStarted, decode_request
from ipc.wire.frame import Frame, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from exec_worker.asked_batch import AskedBatch
    from exec_worker.batches import Outcome
    from exec_worker.engine import Engine
    from exec_worker.lane import Lanes
    from ipc.link import Link
    from ipc.scoreboard import Scoreboard

# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REQUEST, _CANCEL, _DECLINE = int(Kind.REQUEST), int(Kind.CANCEL), int(Kind.DECLINE)
_WANTED, _LAST_RESORT, _AGAIN = int(Kind.WANTED), int(Flag.LAST_RESORT), int(Flag.AGAIN)
_REASON = {
    Verdict.EXPIRED: NotStarted.EXPIRED,
    Verdict.DRAINING: NotStarted.DRAINING,
}


class Service:
    """What one exec worker does with what it is asked."""

    def __init__(self, engine: Engine, scoreboard: Scoreboard, lanes: Lanes, rows: Rows | None = None) -> None:
        self._engine = engine
        self._lanes = lanes
        self.rows = rows or Rows(engine)
        """The pipelines that lead through here."""
        self._alarm = Alarm(self._look)
        underway = Underway(engine, scoreboard, lanes.slots)
        self._finishing = Finishing(underway, engine, self.rows, self._look_soon)
        self.finish = self._finishing.finish
        """What a lane does at the end of a call."""
        # Every call comes by here: what it needs is at hand.
        self._lock, self._calls, self._clients = underway.lock, underway.calls, underway.clients
        self._admission, self._scoreboard = underway.admission, underway.scoreboard
        self._batches, self._batched, self._note = underway.batches, underway.batched, underway.note
        self._watch = self._alarm.set

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
        tell_ready(other)
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

    def _look_soon(self) -> None:
        """The same, from a lane."""
        if self._alarm.loop is not None:
            self._alarm.loop.call_soon_threadsafe(self._look_at_batches)

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
        tell_others(outcome)

    def _declined(self, link: Link) -> None:
        with self._lock:
            other = self._admission.declined(link, now())
        tell_ready(other)

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

    def _look(self) -> None:
        """The clock has come to a deadline, or calls have been held, or a slot kept, for long enough."""
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
            tell_ready(other)
        for run in expired:
            self._lanes.expire(_batch_of(run) if isinstance(run, Turn) else run)
        soon = min(soon, math.inf if again is None else time + again)
        if soon < math.inf:
            self._watch(soon)
        if self._batched:
            self._look_at_batches()


def _batch_of(turn: Turn[AskedCall]) -> AskedBatch:
    """The batch that a turn has become."""
    batch = turn.calls[0].batch
    assert batch is not None  # noqa: S101 - it was made when the turn began
    return batch
