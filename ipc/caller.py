"""The asking side: a web worker's links to all exec workers, and the calls that wait for their answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from ipc.call import Call
from ipc.clock import now
from ipc.decoding.limits import UNREADABLE
from ipc.errors import CallTimeout, Cancelled, Expired, LinkLost, Misuse, NoWorker, TooLarge
from ipc.flow.pending import Pending
from ipc.flow.put_off import PutOff
from ipc.journey import Journey, Journeys
from ipc.mesh import Group, Mesh, Peer, peer_of
from ipc.messages.calls import Kind
from ipc.messages.lifeline import Ended
from ipc.priority import NORMAL
from ipc.quarantine import Quarantine
from ipc.replies import Replies
from ipc.sending import Sending
from ipc.sight import Lookout
from ipc.transport.tcp import dial
from ipc.verdicts import Verdicts
from ipc.wire.frame import MAX_META, Frame, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

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
# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_CANCEL, _DECLINE, _FORWARDED = int(Kind.CANCEL), int(Kind.DECLINE), int(Kind.FORWARDED)
_READY, _CLOSED = int(Kind.READY), int(Kind.CLOSED)


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
        self._pending: Pending[Call] = Pending()
        self._sending = self.new_sending(self._pending)
        self._groups = {name: Group(name, limits, self._sending.turned_away) for name in sorted(set(routes.values()))}
        self._routes = {node: Route(self._groups[group], node in idempotent) for node, group in routes.items()}
        self._mesh = Mesh(self, me, terms, self._groups, connect, tell)
        self._quarantine = Quarantine()
        self._verdicts = Verdicts(self._pending, tell, self._sending.again)
        self._journeys = Journeys(self._pending, self._mesh, self._verdicts.strand)
        self._put_off: PutOff[Call] = PutOff()
        self._replies = Replies(self._pending, self._journeys, self._put_off, self._sending)
        self._mesh.oldest = self._journeys.oldest
        self.lookout = Lookout(self._loop, tell)
        self.lookout.add(group.sight for group in self._groups.values())
        self._sweeper: asyncio.TimerHandle | None = None

    def new_sending(self, pending: Pending[Call]) -> Sending:
        """What sends its calls."""
        return Sending(pending)

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
        if send is not None and not self._sending.one(send, time):
            self._sending.all(group.dispatch.answered(send.seat, send.seat.room, None, time))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        return call

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more. What was not begun will not be."""
        if self._pending.leave(call.id) is not None:
            call.leave(Cancelled("the caller went away"))
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
        self.lookout.close()
        self._mesh.close()
        for call in self._pending.abandon():
            call.leave(LinkLost("this worker is leaving"))
        await asyncio.sleep(0)

    # -- what a link says

    def established(self, link: Link) -> None:
        """A worker has proved that it is the one we were told of."""
        peer = peer_of(link)
        self._sending.all(self._mesh.established(peer, link))
        self._journeys.established(peer.spec.name)

    def heard(self, link: Link, frame: Frame) -> None:
        """An authentic frame from an exec worker."""
        peer = link.state
        assert isinstance(peer, Peer)  # noqa: S101 - set when it was dialled
        assert peer.seat is not None  # noqa: S101 - set when established
        kind = frame.kind
        if kind == _READY:
            send = peer.group.dispatch.offered(peer.seat, now())
            if send is None or not self._sending.all([send], peer.seat):
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
            self._replies.heard(peer, link, call, frame)
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

    def _overdue(self, call: Call) -> None:
        """Its time is over, and a worker has it."""
        call.leave(CallTimeout("the node did not answer in time"))
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

    def _sweep(self) -> None:
        """Deadlines, calls that have become slow, groups that stay empty: one pass over what is live."""
        time = now()
        try:
            self._look(time)
        finally:
            busy = len(self._pending) or self._verdicts.waits
            self._sweeper = self._loop.call_later(SWEEP, self._sweep) if busy else None

    def _look(self, time: float) -> None:
        self.lookout.stir()
        self._verdicts.look(time)
        for call in self._pending.expire(time):
            if call.seat is None:
                call.leave(Expired("no worker was free in time"))
            else:
                self._overdue(call)
        if self._put_off:
            for call in self._put_off.due(time, lambda call: self._pending.peek(call.id) is call):
                call.seat = None
                self._sending.again(call)
        for call in self._pending:
            if call.slow is not None and time - call.since > SWEEP:
                slow, call.slow = call.slow, None
                slow(call)
        for group in self._groups.values():
            self._sending.all(group.dispatch.doubt(time))
            if group.empty_since is not None and time - group.empty_since > NO_WORKER_PATIENCE:
                for call in group.dispatch.evict():
                    self._pending.leave(call.id)
                    call.fail(NoWorker(f"no worker of {group.name} is up"))
