"""Calls that go from worker to worker, as their origin has them: whose answer is taken, and what ends one of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from ipc.call import Answer, Call
from ipc.decoding.limits import UNREADABLE
from ipc.errors import from_code
from ipc.flow.track import Standing, Track
from ipc.mesh import peer_of
from ipc.messages.calls import Kind, decode_failure, decode_forwarded, decode_reply
from ipc.stats import refuse
from ipc.wire.frame import Frame, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipc.flow.pending import Pending
    from ipc.link import Link
    from ipc.mesh import Mesh, Peer
    from ipc.pipeline import Leg

REMEMBERED = 4096
"""Calls whose ids are known for a while after they are over: an honest worker may answer one late."""
_REPLY, _FAILURE, _FORWARDED = int(Kind.REPLY), int(Kind.FAILURE), int(Kind.FORWARDED)
_NOT_STARTED, _CANCEL, _WANTED = int(Kind.NOT_STARTED), int(Kind.CANCEL), int(Kind.WANTED)


class Early(NamedTuple):
    """What a worker said of a call before it was named for it."""

    peer: Peer
    link: Link
    frame: Frame


class Journey(Call):
    """A call of a pipeline. On its first leg it is a call like any other."""

    __slots__ = ("track", "way")

    way: Sequence[Leg]
    track: Track[Early]

    def along(self, way: Sequence[Leg]) -> None:
        """Be on this way, from its beginning. Of `idempotent` it is meant that all nodes on it are."""
        self.way, self.track = way, Track(way)

    @property
    def stage(self) -> str:
        """The node it is at."""
        return self.track.stage

    @property
    def goes_on(self) -> bool:  # type: ignore[override]  # of a call of one node it is a constant, for speed
        """Whether it has not come to the last worker."""
        return self.track.goes_on

    def restart(self) -> None:
        """It begins once more at its first stage."""
        self.track = self.track.anew(() if self.link is None else (peer_of(self.link).spec.name,))


class Journeys:
    """All that are under way, and those that were."""

    def __init__(
        self,
        pending: Pending[Call],
        mesh: Mesh,
        strand: Callable[[Journey], None],
    ) -> None:
        """`strand` takes a call that nobody has any more."""
        self._pending, self._mesh, self._strand = pending, mesh, strand
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def oldest(self, now: float) -> float:
        """When the first of those began that are under way; `now` if none is, infinite if there never was one."""
        if not self._known:
            return math.inf
        return min((call.since for call in self._pending if isinstance(call, Journey)), default=now)

    def begin(self, call: Journey) -> None:
        """It is on its way."""
        self._known[call.id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def sent_on(self, peer: Peer, link: Link, call: Call, to: str) -> None:
        """`peer` says to whom it has sent a call that it had from us, or from another. Refuse for a lie."""
        if not isinstance(call, Journey) or not call.track.sent_on(peer.spec.name, to):
            raise Refuse(Refusal.UNAUTHORISED)
        call.begun = True
        if call.track.by == peer.spec.name:
            call.link = link
        if (early := call.track.kept()) is not None:
            try:
                self.heard(*early)
            except Refuse as refused:  # of another link than the one on which this was heard
                _turn_away(early, refused.reason)
        elif call.track.orphaned:
            self._look_after(call)

    def knows(self, call_id: bytes) -> bool:
        """Whether workers that were not sent this call by us may speak of it."""
        return call_id in self._known or isinstance(self._pending.peek(call_id), Journey)

    def heard(self, peer: Peer, link: Link, frame: Frame) -> None:
        """A worker speaks of a call that we did not send it. Refuse if it has no part in it."""
        call = self._pending.peek(frame.call_id)
        if not isinstance(call, Journey):
            self._pending.late += 1
            return
        name = peer.spec.name
        match call.track.standing(name):
            case Standing.PAST:
                self._pending.late += 1
            case Standing.EARLY if frame.kind in {_REPLY, _FAILURE, _FORWARDED}:
                if not call.track.keep(name, Early(peer, link, frame)):
                    raise Refuse(Refusal.UNAUTHORISED)
            case Standing.HOLDS if frame.kind == _REPLY and not call.goes_on:
                self._arrived(call, frame)
            case Standing.HOLDS if frame.kind == _NOT_STARTED:  # it was asked whether it has the call
                self._strand(call)
            case Standing.NAMES if frame.kind == _NOT_STARTED:
                pass  # it has sent it on since
            case Standing.HOLDS | Standing.NAMES if frame.kind in {_FAILURE, _FORWARDED}:
                self._goes_on(peer, link, call, frame)
            case _:
                raise Refuse(Refusal.UNAUTHORISED)

    def call_off(self, call: Journey) -> None:
        """Nobody waits for it any more: say so to the worker that was named too, for the one that names is busy."""
        if (link := self._mesh.link_to(call.track.at)) is not None:
            link.send(_CANCEL, call.id)

    def died(self, worker: str) -> None:
        """`worker` is dead: look after the calls that it had sent on, and those that it was sent."""
        for call in self._pending:
            if isinstance(call, Journey):
                call.track.died(worker)
                if call.track.orphaned and worker in (call.track.by, call.track.at):
                    self._look_after(call)

    def established(self, worker: str) -> None:
        """There is a link to `worker`: ask it now what it could not be asked without one."""
        if not self._known:
            return
        for call in list(self._pending):
            if isinstance(call, Journey) and call.track.at == worker and call.track.orphaned:
                self._look_after(call)

    def _look_after(self, call: Journey) -> None:
        """Who sent it on is dead. Whoever was named may never have got it, or have given it back."""
        if call.track.stranded:
            self._strand(call)
        elif (link := self._mesh.link_to(call.track.at)) is not None:
            link.send(_WANTED, call.id)

    def _arrived(self, call: Journey, frame: Frame) -> None:
        try:
            meta = decode_reply(frame.meta)
        except UNREADABLE:
            raise Refuse(Refusal.DECODE) from None
        self._pending.settle(call.id)
        if not call.future.done():
            call.future.set_result(Answer(meta, frame.body))
        for early in call.track.unheard():
            _turn_away(early, Refusal.UNAUTHORISED)

    def _goes_on(self, peer: Peer, link: Link, call: Journey, frame: Frame) -> None:
        try:
            if frame.kind == _FORWARDED:
                self.sent_on(peer, link, call, decode_forwarded(frame.meta).to)
                return
            failure = decode_failure(frame.meta)
        except UNREADABLE:
            raise Refuse(Refusal.DECODE) from None
        self._pending.settle(call.id)
        call.leave(from_code(failure.code, failure.detail, failure.stage))


def _turn_away(early: Early, reason: Refusal) -> None:
    """What it said is refused, as it would have been if it had not come early."""
    refuse(reason)
    early.link.abort()
