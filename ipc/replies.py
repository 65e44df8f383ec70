"""What a worker says of a call that it was sent, and who comes next in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.call import Answer
from ipc.clock import now
from ipc.errors import NoWorker, from_code
from ipc.messages.calls import (
    ERROR_OF,
    Flag,
    Kind,
    NotStarted,
    NotStartedMeta,
    decode_failure,
    decode_forwarded,
    decode_not_started,
    decode_reply,
)
from ipc.wire.frame import Frame, Refusal, Refuse

if TYPE_CHECKING:
    from ipc.call import Call
    from ipc.flow.pending import Pending
    from ipc.flow.put_off import PutOff
    from ipc.journey import Journeys
    from ipc.link import Link
    from ipc.mesh import Peer
    from ipc.sending import Sending

# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REPLY, _FAILURE, _FORWARDED, _DECLINE = int(Kind.REPLY), int(Kind.FAILURE), int(Kind.FORWARDED), int(Kind.DECLINE)
_SLOT_KEPT = int(Flag.READY)


class Replies:
    """Brings each to who waits for it. The waiter leaves only once what was said could be read."""

    def __init__(self, pending: Pending[Call], journeys: Journeys, put_off: PutOff[Call], sending: Sending) -> None:
        self._pending, self._journeys, self._put_off, self._sending = pending, journeys, put_off, sending

    def heard(self, peer: Peer, link: Link, call: Call, frame: Frame) -> None:
        """A word on a call. Refuse, or another error of decoding, if it cannot be read or may not be said."""
        if frame.kind == _REPLY:
            meta = decode_reply(frame.meta)
            if call.goes_on:
                raise Refuse(Refusal.UNAUTHORISED)
            if (waiter := self._pending.settle(call.id)) is not None and not waiter.future.done():
                waiter.future.set_result(Answer(meta, frame.body))
            self._over(peer, link, call, frame.flags, meta.room)
        elif frame.kind == _FAILURE:
            failure = decode_failure(frame.meta)
            if (waiter := self._pending.settle(call.id)) is not None:
                waiter.leave(from_code(failure.code, failure.detail, failure.stage))
            self._over(peer, link, call, frame.flags, failure.room)
        elif frame.kind == _FORWARDED:
            forwarded = decode_forwarded(frame.meta)
            if self._pending.peek(call.id) is call:
                self._journeys.sent_on(peer, link, call, forwarded.to)
            self._over(peer, link, call, frame.flags, forwarded.room)
        else:
            self._not_started(peer, call, decode_not_started(frame.meta))

    def _over(self, peer: Peer, link: Link, call: Call, flags: int, room: int) -> None:
        """A call left its slot: who comes next?"""
        seat, time = peer.seat, now()
        peer.group.sight.answered(call.since, call.sent, time)
        if seat is None:
            return
        sends = peer.group.dispatch.answered(seat, room, call, time)
        if not (sends and self._sending.all(sends, seat)) and flags & _SLOT_KEPT:
            link.send(_DECLINE)

    def _not_started(self, peer: Peer, call: Call, meta: NotStartedMeta) -> None:
        waits = self._pending.peek(call.id) is not None
        reason = meta.reason
        if reason in (NotStarted.BUSY, NotStarted.DRAINING):
            # Proved not begun: it may go anywhere else, whether it is idempotent or not.
            call.seat = None
            if peer.seat is not None:
                self._sending.all(peer.group.dispatch.given_back(peer.seat, call if waits else None, now()))
            return
        if waits and reason == NotStarted.NOT_YET:
            call.link = None  # nobody has it meanwhile
            if not self._put_off.add(call, now()):
                self._pending.leave(call.id)
                call.leave(NoWorker(f"{peer.spec.name} cannot take it, and others could not either"))
        elif waits:
            self._pending.settle(call.id)
            call.leave(ERROR_OF[reason](_NOT_STARTED[reason]))
        if peer.seat is not None:
            self._sending.all(peer.group.dispatch.answered(peer.seat, peer.seat.room, None, now()))


_NOT_STARTED = {
    NotStarted.EXPIRED: "no worker was free in time",
    NotStarted.CANCELLED: "the caller went away",
    NotStarted.UNKNOWN_NODE: "the worker runs no node of that name",
}
