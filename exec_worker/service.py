"""Joins links, admission and lanes: takes calls in, hands them over, answers.

The I/O thread hears, lanes run and answer. They share the admission, under one lock that is never held while anything
is run or waited for. A lane seals and writes the reply itself: handing it back to the loop would cost as much again as
the call.
"""

from __future__ import annotations

import asyncio
import math
from threading import Lock
from typing import TYPE_CHECKING

from exec_worker.admission import GIVE_BACK_AFTER, KEEP_SLOT, Admission, Verdict
from exec_worker.asked import AskedCall
from exec_worker.engine import Engine, Failure
from ipc.clock import now
from ipc.decoding.limits import UNREADABLE
from ipc.link import Link
from ipc.messages.calls import (
    FailureMeta,
    Flag,
    Kind,
    NotStarted,
    NotStartedMeta,
    ReplyMeta,
    decode_request,
    encode_meta,
    sentence,
)
from ipc.names import parse_worker
from ipc.wire.frame import MAX_META, Frame, Refusal, Refuse

if TYPE_CHECKING:
    from exec_worker.binding import Encoded
    from exec_worker.lane import Lanes
    from ipc.scoreboard import Scoreboard

# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REQUEST, _CANCEL, _DECLINE = int(Kind.REQUEST), int(Kind.CANCEL), int(Kind.DECLINE)
_REPLY, _FAILURE, _NOT_STARTED_KIND, _READY = (
    int(kind) for kind in (Kind.REPLY, Kind.FAILURE, Kind.NOT_STARTED, Kind.READY)
)
_LAST_RESORT, _SLOT_KEPT = int(Flag.LAST_RESORT), int(Flag.READY)
TICK = 0.001
"""The shortest wait of a loop's timer, seconds."""
_REASON = {
    Verdict.EXPIRED: NotStarted.EXPIRED,
    Verdict.DRAINING: NotStarted.DRAINING,
}


class Service:
    """What one exec worker does with what it is asked."""

    def __init__(self, engine: Engine, scoreboard: Scoreboard, lanes: Lanes) -> None:
        self._engine = engine
        self._scoreboard = scoreboard
        self._lanes = lanes
        self._lock = Lock()
        self._admission: Admission[AskedCall] = Admission(lanes.slots)
        self._calls: dict[bytes, AskedCall] = {}  # those that run and those that are held
        self._clients: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf  # when the timer rings

    # -- the I/O thread

    def heard(self, link: Link, frame: Frame) -> None:
        """A web worker says something."""
        if frame.kind == _REQUEST and link.ending:
            _not_started(link, frame.call_id, NotStarted.DRAINING)
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
        else:
            link.close()

    def stale(self, link: Link, frame: Frame) -> None:
        """It was said long ago: a node kept this process to itself. A call is not begun any more; the rest holds."""
        if frame.kind == _REQUEST:
            _not_started(link, frame.call_id, NotStarted.EXPIRED)
            self._declined(link)
        else:
            self.heard(link, frame)

    def ended(self, link: Link) -> None:
        """A web worker is gone: nobody waits for what it asked."""
        self._clients.discard(link)
        with self._lock:
            other = self._admission.gone(link, now())
            left = [call for call in self._calls.values() if call.client is link]
            running = [call for call in left if call in self._admission.running]
            for call in left:
                if call not in self._admission.running:
                    del self._calls[call.id]
        for call in running:
            self._lanes.leave(call)
        _tell_ready(other)

    def drain(self) -> None:
        """Take nothing more: the lanes end once what runs is over and answered."""
        with self._lock:
            held = self._admission.drain()
            for call in held:
                del self._calls[call.id]
        for call in held:
            _not_started(call.client, call.id, NotStarted.DRAINING)
        self._lanes.close()

    def _request(self, link: Link, frame: Frame) -> None:
        meta = decode_request(frame.meta)
        if meta.reply_to != link.state:
            _check_reply_to(link, meta.reply_to)
        arrived = now()
        grace = self._engine.cancel_grace(meta.node)
        if grace is None:
            _not_started(link, frame.call_id, NotStarted.UNKNOWN_NODE)
            self._declined(link)
            return
        call = AskedCall(
            link,
            frame.call_id,
            meta,
            frame.body,
            arrived + frame.budget_ms / 1000,
            arrived,
            bool(frame.flags & _LAST_RESORT),
            grace,
        )
        with self._lock:
            if call.id in self._calls:
                raise Refuse(Refusal.UNAUTHORISED)
            verdict = self._admission.arrive(call, arrived)
            if verdict is Verdict.START:
                self._calls[call.id] = call
                self._scoreboard.begin()
            elif verdict is Verdict.HOLD:
                self._calls[call.id] = call
            elif verdict is Verdict.BUSY:
                # Under the lock: READY must not overtake it, or the asker would wait for a READY that has been.
                _not_started(link, call.id, NotStarted.BUSY)
        if verdict is Verdict.START:
            self._lanes.put(call)
            self._watch(call.deadline)
        elif verdict is Verdict.HOLD:
            self._watch(min(arrived + GIVE_BACK_AFTER, call.deadline))
        elif verdict is Verdict.BUSY:
            self._watch(arrived + KEEP_SLOT)
        else:
            _not_started(link, call.id, _REASON[verdict])
            self._declined(link)  # if a slot was kept for this call, others need not wait for the next

    def _declined(self, link: Link) -> None:
        with self._lock:
            other = self._admission.declined(link, now())
        _tell_ready(other)

    def _cancel(self, link: Link, call_id: bytes) -> None:
        with self._lock:
            call = self._calls.get(call_id)
            if call is None or call.client is not link:
                return
            if held := self._admission.cancel(call):
                del self._calls[call_id]
        if held:
            _not_started(link, call_id, NotStarted.CANCELLED)
        else:
            self._lanes.leave(call)

    def _watch(self, when: float) -> None:
        """Look again then: one timer for deadlines, calls that are held, the slot that is kept and all who wait."""
        if when >= self._look_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._look_at = when
        self._timer = asyncio.get_running_loop().call_later(max(TICK, when - now()), self._look)

    def _look(self) -> None:
        self._timer, self._look_at = None, math.inf
        time = now()
        with self._lock:
            returned = self._admission.give_back(time)
            for call in returned:
                del self._calls[call.id]
                _not_started(call.client, call.id, NotStarted.BUSY)
            others = self._admission.overdue(time)
            again = self._admission.waits_for_time
            expired = [call for call in self._admission.running if call.deadline <= time]
            soon = min((call.deadline for call in self._calls.values() if call.deadline > time), default=math.inf)
        for other in others:
            _tell_ready(other)
        for call in expired:
            self._lanes.expire(call)
        soon = min(soon, math.inf if again is None else time + again)
        if soon < math.inf:
            self._watch(soon)

    # -- a lane

    def finish(self, call: AskedCall, result: Encoded | Failure | None, began: float) -> AskedCall | None:
        """Answer a call that is over, or was not begun (None); returns the one that is next."""
        ended = now()
        with self._lock:
            self._scoreboard.end()
            del self._calls[call.id]
            following = self._admission.finished(call, ended)
            room = self._admission.room(len(self._clients))
            if following.start is not None:
                self._scoreboard.begin()
            for late in following.expired:
                del self._calls[late.id]
        link = call.client
        flags = _SLOT_KEPT if following.offer is link and result is not None else 0
        if result is None:
            _not_started(link, call.id, NotStarted.CANCELLED)
        elif isinstance(result, Failure):
            _fail(link, call.id, result, room, flags)
        else:
            times = int((began - call.arrived) * 1e6), int((ended - began) * 1e6)
            self._reply(link, call, result, room, times, flags)
        for late in following.expired:
            _not_started(late.client, late.id, NotStarted.EXPIRED)
        if not flags:
            _tell_ready(following.offer)
        return following.start

    def _reply(
        self, link: Link, call: AskedCall, result: Encoded, room: int, times: tuple[int, int], flags: int
    ) -> None:
        meta = encode_meta(ReplyMeta(room, *times, result.encoding, result.status, result.media_type, result.headers))
        try:
            link.send(_REPLY, call.id, meta, memoryview(result.body), flags)
        except Refuse:
            what = f"{len(result.body)} bytes; max_payload_bytes is {link.max_payload}"
            if len(meta) > MAX_META:
                what = f"{len(meta)} bytes of headers; at most {MAX_META} are carried"
            _fail(link, call.id, self._engine.explain_too_large(call, what), room, flags)


def _tell_ready(client: object | None) -> None:
    if isinstance(client, Link):
        client.send(_READY)


def _check_reply_to(link: Link, reply_to: str) -> None:
    """Answers go to whoever asked: only a link's own worker may be named on it."""
    try:
        name = parse_worker(reply_to)
    except ValueError:
        raise Refuse(Refusal.UNAUTHORISED) from None
    if name.wire_id + name.wire_incarnation != link.peer:
        raise Refuse(Refusal.UNAUTHORISED)
    link.state = reply_to


def _not_started(link: Link, call_id: bytes, reason: NotStarted) -> None:
    link.send(_NOT_STARTED_KIND, call_id, encode_meta(NotStartedMeta(reason)))


def _fail(link: Link, call_id: bytes, failure: Failure, room: int, flags: int) -> None:
    link.send(_FAILURE, call_id, encode_meta(FailureMeta(room, failure.code, sentence(failure.detail))), b"", flags)
