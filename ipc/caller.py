"""The asking side: a web worker's links to all exec workers, and the calls that wait for their answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from ipc.call import Answer, Call
from ipc.clock import now
from ipc.decoding.limits import UNREADABLE
from ipc.errors import (
    CallTimeout,
    Cancelled,
    Expired,
    IpcError,
    LinkLost,
    Misuse,
    NoWorker,
    Rejected,
    TooLarge,
    from_code,
)
from ipc.flow.pending import Pending
from ipc.flow.put_off import PutOff
from ipc.journey import Journey, Journeys
from ipc.mesh import Group, Mesh, Peer, peer_of
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
from ipc.messages.lifeline import Ended
from ipc.priority import NORMAL
from ipc.quarantine import Quarantine
from ipc.transport.tcp import dial
from ipc.verdicts import Verdicts, fail
from ipc.wire.frame import MAX_META, Frame, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ipc.flow.dispatch import Seat, Send
    from ipc.link import Link
    from ipc.mesh import Connect
    from ipc.messages.lifeline import FromChild, Peers, Quarantined
    from ipc.messages.settings import Limits
    from ipc.names import WorkerName
    from ipc.pipeline import Leg
    from ipc.wire.session import Terms

SWEEP = 0.02
"""How often deadlines are looked at while any call waits, seconds."""
NO_WORKER_PATIENCE = 5.0
"""How long a call waits for a group that has no worker at all, seconds: a successor is there sooner or not soon."""
MAX_BUDGET_MS = 2**32 - 1
# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REQUEST, _CANCEL, _DECLINE = int(Kind.REQUEST), int(Kind.CANCEL), int(Kind.DECLINE)
_REPLY, _FAILURE, _READY, _CLOSED = int(Kind.REPLY), int(Kind.FAILURE), int(Kind.READY), int(Kind.CLOSED)
_FORWARDED = int(Kind.FORWARDED)
_LAST_RESORT, _SLOT_KEPT, _AGAIN = int(Flag.LAST_RESORT), int(Flag.READY), int(Flag.AGAIN)


class Route(NamedTuple):
    """Who runs a node, and whether running it twice does no harm."""

    group: Group
    idempotent: bool


def _nobody(_message: object) -> None:
    """Who is told if there is no supervisor: everything lives in one process."""


class Caller:
    """Call nodes in other processes. Lives in one event loop and is used from there only."""

    def __init__(
        self,
        me: WorkerName,
        terms: Terms,
        limits: Limits,
        routes: Mapping[str, str],
        connect: Connect = dial,
        tell: Callable[[FromChild], object] = _nobody,
        idempotent: Collection[str] = (),
    ) -> None:
        """`routes` says which group runs a node, `connect` how an address is reached.

        `tell` takes messages to the supervisor. `idempotent` nodes may be tried again.
        """
        self.me = me
        self._terms = terms
        self._loop = asyncio.get_running_loop()
        self._groups = {name: Group(name, limits, self._turned_away) for name in sorted(set(routes.values()))}
        self._routes = {node: Route(self._groups[group], node in idempotent) for node, group in routes.items()}
        self._mesh = Mesh(self, me, terms, self._groups, connect, tell)
        self._quarantine = Quarantine()
        self._pending: Pending[Call] = Pending()
        self._verdicts = Verdicts(self._pending, tell, self._leave, self._again)
        self._journeys = Journeys(self._pending, self._mesh, self._leave, self._verdicts.strand)
        self._put_off: PutOff[Call] = PutOff()
        self._mesh.oldest = self._journeys.oldest
        self._sweeper: asyncio.TimerHandle | None = None

    # -- asking

    def call(
        self,
        node: str,
        call_id: bytes,
        meta: bytes,
        body: bytes | memoryview,
        timeout: float,
        slow: Callable[[Call], None] | None = None,
        priority: int = NORMAL,
        way: Sequence[Leg] = (),
    ) -> Call:
        """Send a call on its way, or let it wait for a worker; await its `future`.

        `timeout` is the caller's time, seconds. `slow` is called once, with the call, if it is not over soon. `way`
        is that of a pipeline, which `node` begins.
        Raises Misuse for a node nobody runs, TooLarge, Quarantined, Busy, NoWorker: nothing was done then.
        """
        route = self._routes.get(node)
        if route is None:
            raise Misuse(f"no group runs a node called {node!r}")
        group = route.group
        if len(body) > self._terms.max_payload:
            raise TooLarge(f"{len(body)} bytes; at most {self._terms.max_payload} are allowed")
        if len(meta) > MAX_META:
            raise TooLarge(f"parameters and names have {len(meta)} bytes; at most {MAX_META} are allowed")
        time = now()
        if group.empty_since is not None and time - group.empty_since > NO_WORKER_PATIENCE:
            raise NoWorker(f"no worker of {group.name} is up")
        if self._quarantine:
            self._quarantine.check(node, meta, body, time)
        future = self._loop.create_future()
        # Who had it on the first leg may have sent it on, whatever is known of that worker.
        again = all(self._routes[each].idempotent for leg in way for each in leg.nodes) if way else route.idempotent
        kind = Journey if way else Call
        call = kind(group, node, again, call_id, meta, body, time, timeout, slow, future, priority)
        if isinstance(call, Journey):
            call.along(way)
            self._journeys.begin(call)
        send = group.dispatch.submit(call, time)
        self._pending.open(call.id, call)
        group.budget.earn()
        if send is not None and not self._send(send, time):
            self._send_all(group.dispatch.answered(send.seat, send.seat.room, None, time))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        return call

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more. What was not begun will not be."""
        if self._pending.leave(call.id) is not None:
            self._leave(call, Cancelled("the caller went away"))
            call.left = True
            if (server := self._call_off(call)) is not None:
                self._verdicts.call_off(call, server)

    def when_gone(self, call: Call, then: Callable[[], object]) -> None:
        """Call `then` once nobody waits for this call, whose future is done, and no worker that we sent it has it."""
        self._verdicts.when_gone(call, then)

    @property
    def late(self) -> int:
        """Answers that came after their caller had left."""
        return self._pending.late

    @property
    def waiting(self) -> int:
        """Calls under way."""
        return len(self._pending)

    def missing(self) -> list[str]:
        """The groups of which no worker can be reached."""
        return [group.name for group in self._groups.values() if not group.links]

    def update(self, peers: Peers) -> None:
        """Take the newest list of workers."""
        self._mesh.update(peers)

    def fate(self, message: Ended | Quarantined) -> None:
        """Hear from the supervisor what a worker had begun that is dead, or what is not to be begun any more."""
        if isinstance(message, Ended):
            self._verdicts.ended(message)
            self._journeys.died(message.server)
        else:
            self._quarantine.add(message.node, message.mark, now() + message.seconds)

    async def close(self) -> None:
        """End every link; what still waits fails."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._mesh.close()
        for call in self._pending.abandon():
            self._leave(call, LinkLost("this worker is leaving"))
        await asyncio.sleep(0)

    # -- what a link says

    def established(self, link: Link) -> None:
        """A worker has proved that it is the one we were told of."""
        peer = peer_of(link)
        self._send_all(self._mesh.established(peer, link))
        self._journeys.established(peer.spec.name)

    def heard(self, link: Link, frame: Frame) -> None:
        """An authentic frame from an exec worker."""
        peer = link.state
        assert isinstance(peer, Peer)  # noqa: S101 - set when it was dialled
        assert peer.seat is not None  # noqa: S101 - set when established
        kind = frame.kind
        if kind == _READY:
            send = peer.group.dispatch.offered(peer.seat, now())
            if send is None or not self._send_all([send], peer.seat):
                link.send(_DECLINE)
            return
        if kind == _CLOSED:
            self._mesh.dismissed(peer)
            return
        call = peer.outstanding.pop(frame.call_id, None)
        if call is None:
            if self._journeys.knows(frame.call_id):
                self._journeys.heard(peer, link, frame)
                if kind != _FORWARDED:
                    self._verdicts.answered(frame.call_id, peer.spec.name)
                return
            raise Refuse(Refusal.UNAUTHORISED)  # it answers what it was never asked
        try:
            self._answered(peer, link, call, frame)
        except UNREADABLE:
            peer.outstanding[call.id] = call  # it has no answer yet, and `ended` tells it so
            raise Refuse(Refusal.DECODE) from None
        except Refuse:
            peer.outstanding[call.id] = call
            raise
        self._verdicts.gave_up(call)
        if peer.withdrawn:
            self._mesh.let_go(peer)

    def stale(self, link: Link, frame: Frame) -> None:
        """This process was away. An answer that came meanwhile is one all the same, if somebody still waits for it."""
        self.heard(link, frame)

    def ended(self, link: Link) -> None:
        """A link is gone: what was outstanding on it waits until its fate is known."""
        peer = peer_of(link)
        lost, peer.outstanding = peer.outstanding, {}
        self._mesh.ended(peer)
        self._verdicts.lost(peer.spec.name, lost)
        if self._sweeper is None and self._verdicts.waits:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    # -- inside

    def _answered(self, peer: Peer, link: Link, call: Call, frame: Frame) -> None:
        """What a worker says of a call it was sent. The waiter leaves only once the meta could be read."""
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
                self._leave(waiter, from_code(failure.code, failure.detail, failure.stage))
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
        seat = peer.seat
        if seat is None:
            return
        sends = peer.group.dispatch.answered(seat, room, call, now())
        if not (sends and self._send_all(sends, seat)) and flags & _SLOT_KEPT:
            link.send(_DECLINE)

    def _not_started(self, peer: Peer, call: Call, meta: NotStartedMeta) -> None:
        waits = self._pending.peek(call.id) is not None
        reason = meta.reason
        if reason in (NotStarted.BUSY, NotStarted.DRAINING):
            # Proved not begun: it may go anywhere else, whether it is idempotent or not.
            call.seat = None
            if peer.seat is not None:
                self._send_all(peer.group.dispatch.given_back(peer.seat, call if waits else None, now()))
            return
        if waits and reason == NotStarted.NOT_YET:
            call.link = None  # nobody has it meanwhile
            if not self._put_off.add(call, now()):
                self._pending.leave(call.id)
                self._leave(call, NoWorker(f"{peer.spec.name} cannot take it, and others could not either"))
        elif waits:
            self._pending.settle(call.id)
            self._leave(call, ERROR_OF[reason](_NOT_STARTED[reason]))
        if peer.seat is not None:
            self._send_all(peer.group.dispatch.answered(peer.seat, peer.seat.room, None, now()))

    def _send_all(self, sends: list[Send[Call]], seat: Seat | None = None) -> bool:
        """Send what is still wanted, and what follows in the place of the rest; returns whether `seat` got any."""
        if not sends:
            return False
        time = now()
        served = False
        for send in sends:
            if self._send(send, time):
                served = served or send.seat is seat
            else:
                sends += send.call.group.dispatch.answered(send.seat, send.seat.room, None, time)
        return served

    def _send(self, send: Send[Call], time: float) -> bool:
        """False if its time is over: then it has been told so, and the worker has not been told anything."""
        seat, call, last_resort = send
        budget = int((call.deadline - time) * 1000)
        if budget < 1:
            if self._pending.leave(call.id) is not None:
                fail(call, Expired("no worker was free in time"))
            return False
        link = call.group.links[seat]
        peer = link.state
        assert isinstance(peer, Peer)  # noqa: S101 - set when it was dialled
        call.seat, call.link, call.sent = seat, link, time
        peer.outstanding[call.id] = call
        flags = _LAST_RESORT if last_resort else 0
        if call.begun:
            flags |= _AGAIN
        link.send(_REQUEST, call.id, call.meta, call.body, flags, min(budget, MAX_BUDGET_MS))
        return True

    def _turned_away(self, call: Call, error: Rejected) -> None:
        """It waited, and the dispatch will not send it: nothing was done."""
        if self._pending.leave(call.id) is not None:
            fail(call, error)

    def _leave(self, call: Call, error: IpcError) -> None:
        """The call has left the table; tell its future, and the queue if it was there."""
        if call.seat is None:
            call.group.dispatch.withdraw(call)
            call.body = b""  # its place in the queue may stay for a while, and it is not counted there any more
        # One that was sent keeps its body until its worker has answered, so that it can be suspected of the worker's
        # death. That many are no more than the rooms of the workers, each of `max_payload` at most.
        fail(call, error)

    def _overdue(self, call: Call) -> None:
        """Its time is over, and a worker has it."""
        self._leave(call, CallTimeout("the node did not answer in time"))
        self._call_off(call)

    def _call_off(self, call: Call) -> str | None:
        """Tell the worker that has the call that nobody waits for it any more; returns which, if one has it."""
        link = call.link
        if call.seat is None or link is None:
            return None
        link.send(_CANCEL, call.id)
        if isinstance(call, Journey):
            self._journeys.call_off(call)
            return call.track.at or call.seat.name
        return call.seat.name if call.id in peer_of(link).outstanding else None

    def _again(self, call: Call) -> None:
        """The worker that had it is gone or could not take it yet, and it is to be tried once more."""
        self._send_all(call.group.dispatch.resubmit(call, now()))

    def _sweep(self) -> None:
        """Deadlines, calls that have become slow, groups that stay empty: one pass over what is live."""
        time = now()
        try:
            self._look(time)
        finally:
            busy = len(self._pending) or self._verdicts.waits
            self._sweeper = self._loop.call_later(SWEEP, self._sweep) if busy else None

    def _look(self, time: float) -> None:
        self._verdicts.look(time)
        for call in self._pending.expire(time):
            if call.seat is None:
                self._leave(call, Expired("no worker was free in time"))
            else:
                self._overdue(call)
        if self._put_off:
            for call in self._put_off.due(time, lambda call: self._pending.peek(call.id) is call):
                call.seat = None
                self._again(call)
        for call in self._pending:
            if call.slow is not None and time - call.since > SWEEP:
                slow, call.slow = call.slow, None
                slow(call)
        for group in self._groups.values():
            self._send_all(group.dispatch.doubt(time))
            if group.empty_since is not None and time - group.empty_since > NO_WORKER_PATIENCE:
                for call in group.dispatch.evict():
                    self._pending.leave(call.id)
                    fail(call, NoWorker(f"no worker of {group.name} is up"))


_NOT_STARTED = {
    NotStarted.EXPIRED: "no worker was free in time",
    NotStarted.CANCELLED: "the caller went away",
    NotStarted.UNKNOWN_NODE: "the worker runs no node of that name",
}
