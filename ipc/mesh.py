"""A web worker's links to the exec workers it was told of: dialled, replaced when keys are new, let go."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from ipc.clock import now
from ipc.flow.dispatch import Dispatch, Seat
from ipc.flow.retry import RetryBudget
from ipc.fork import wiped_at_fork
from ipc.link import MAX_HANDSHAKE, dialling
from ipc.messages.lifeline import Moved
from ipc.names import WorkerName, parse_worker
from ipc.sight import Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipc.call import Call
    from ipc.errors import Rejected
    from ipc.flow.dispatch import Send
    from ipc.link import Link, Side
    from ipc.messages.lifeline import FromChild, Peers
    from ipc.messages.lifeline import Peer as Spec
    from ipc.messages.settings import Limits
    from ipc.transport.base import End
    from ipc.wire.session import Terms

REDIAL = 0.1
"""Pause before a worker that should be up is dialled again, seconds."""
SETTLE = 1.0
"""How much longer than the last that was begun before it a link is kept for answers of pipelines, seconds."""
HANDSHAKE_TIME = 60.0
"""How long a worker that was dialled may take to prove who it is, seconds. It may run what lets nothing else in its
process run; but it may also be somebody else who has its port, for as long as nobody has noticed that it died."""


class Connect(Protocol):
    """How a carrier to an address is made: the transport that the configuration chose."""

    async def __call__(self, address: str, end: End, largest: int, /) -> None:
        """Connect `end`, which is told when the connection stands. Raises OSError."""
        ...


class Group:
    """The workers of one group as this process sees them."""

    __slots__ = ("budget", "dispatch", "empty_since", "links", "name", "sight")

    def __init__(self, name: str, limits: Limits, turn_away: Callable[[Call, Rejected], None]) -> None:
        self.name = name
        self.dispatch: Dispatch[Call] = Dispatch(
            random.Random(),  # noqa: S311 - it only spreads load
            limits.queue_calls,
            limits.queue_bytes,
            turn_away,
            limits.queue_wait,
        )
        self.sight = Sight(name, self._line)
        self.budget = RetryBudget()
        self.links: dict[Seat, Link] = {}
        self.empty_since: float | None = now()

    def _line(self) -> tuple[int, float]:
        first = self.dispatch.first()
        return self.dispatch.waiting, min(call.since for call in first) if first else 0.0


class Peer:
    """One exec worker we were told of, under the keys of one epoch, until its link has ended."""

    __slots__ = (
        "__weakref__",
        "before",
        "dialled",
        "group",
        "link",
        "name",
        "outstanding",
        "seat",
        "spec",
        "task",
        "withdrawn",
        "withdrawn_at",
    )

    def __init__(self, spec: Spec, group: Group) -> None:
        self.spec, self.group = spec, group
        self.name: WorkerName = parse_worker(spec.name)
        self.dialled: Link | None = None
        """A link that is being made."""
        self.link: Link | None = None
        self.seat: Seat | None = None
        self.outstanding: dict[bytes, Call] = {}
        self.task: asyncio.Task[None] | None = None
        self.withdrawn = False
        """Nothing more is asked of it under these keys; its link ends with the last answer."""
        self.withdrawn_at = 0.0
        self.before: Peer | None = None
        """The same worker under older keys, until that link has ended."""
        wiped_at_fork(self)

    def wipe(self) -> None:
        """Have no key for it any more; see `ipc.fork`."""
        self.spec = replace(self.spec, key=b"")


def peer_of(link: Link) -> Peer:
    """Whose link it is."""
    peer = link.state
    assert isinstance(peer, Peer)  # noqa: S101 - set when it was dialled
    return peer


class Mesh:
    """Who is up, and the way to each. Says nothing on a link but hello and goodbye."""

    def __init__(
        self,
        side: Side,
        me: WorkerName,
        terms: Terms,
        groups: Mapping[str, Group],
        connect: Connect,
        tell: Callable[[FromChild], object],
    ) -> None:
        """`side` hears what the links say, `tell` is the caller's."""
        self._side, self._me, self._terms, self._groups, self._connect = side, me, terms, groups, connect
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._peers: dict[str, Peer] = {}
        self._lingering: set[Peer] = set()
        self._closed = False
        self.oldest: Callable[[float], float] = lambda _now: math.inf
        """When the first call began of those that may be answered by somebody who was not sent them; see `let_go`."""

    def update(self, peers: Peers) -> None:
        """Take the newest list of workers: dial who is new or has new keys, let go of who is gone."""
        told = {peer.name: peer for peer in peers.workers}
        for name in [name for name in self._peers if name not in told]:
            self.withdraw(self._peers.pop(name))
        for name, spec in told.items():
            known, group = self._peers.get(name), self._groups.get(parse_worker(name).group)
            if group is None or (known is not None and known.spec.epoch >= spec.epoch):
                continue
            peer = self._peers[name] = Peer(spec, group)
            peer.before = known
            if known is not None and known.link is None:  # its own dialling is in vain
                peer.before, known.before = known.before, None
                self.withdraw(known)
            peer.task = self._loop.create_task(self._dial(peer))

    def established(self, peer: Peer, link: Link) -> list[Send[Call]]:
        """It has proved that it is the one we were told of; returns what is to be sent now that it is up."""
        peer.dialled = None
        if peer.withdrawn:
            link.close()
            return []
        peer.link = link
        if peer.before is not None:
            self.withdraw(peer.before)
        peer.group.empty_since = None
        peer.seat, sends = peer.group.dispatch.up(peer.spec.name, now(), peer.spec.room)
        peer.group.links[peer.seat] = link
        self._look_if_moved(peer)
        return sends

    def withdraw(self, peer: Peer) -> None:
        """It is not to be called any more. Answers to what it has may still come, until its link ends."""
        if not peer.withdrawn:
            peer.withdrawn, peer.withdrawn_at = True, now()
        if peer.before is not None:
            self.withdraw(peer.before)
        if peer.task is not None:
            peer.task.cancel()
        if peer.dialled is not None:
            peer.dialled.abort()
        if peer.seat is not None:
            _down(peer.group, peer.seat)
        self.let_go(peer)

    def dismissed(self, peer: Peer) -> None:
        """It leaves, and says nothing more than the answers that it owes us."""
        self.withdraw(peer)
        if peer.link is not None and not peer.outstanding:
            peer.link.close()

    def let_go(self, peer: Peer) -> None:
        """Close the link of a peer that was withdrawn, unless an answer may still come on it.

        Those of pipelines come from workers that were not asked by us, and on the link that they thought was our best.
        """
        if peer.link is None or peer.outstanding:
            return
        if self.oldest(now()) > peer.withdrawn_at + SETTLE:
            peer.link.close()
            return
        if not self._lingering:
            self._loop.call_later(SETTLE, self._let_go_again)
        self._lingering.add(peer)

    def _let_go_again(self) -> None:
        lingering, self._lingering = self._lingering, set()
        for peer in lingering if not self._closed else ():
            self.let_go(peer)

    def link_to(self, worker: str) -> Link | None:
        """The best link to a worker; None if there is none."""
        peer = self._peers.get(worker)
        return peer.link if peer is not None else None

    def ended(self, peer: Peer) -> None:
        """Its link is gone. If it should be up, it is dialled again."""
        peer.link = peer.dialled = None
        if peer.seat is not None:
            _down(peer.group, peer.seat)
            peer.seat = None
        current = self._peers.get(peer.spec.name)
        if current is peer and not self._closed:
            peer.task = self._loop.create_task(self._dial_again(peer))
        elif current is not None:
            self._look_if_moved(current)

    def close(self) -> None:
        """End every link."""
        self._closed = True
        for lingering in self._lingering:
            if lingering.link is not None:
                lingering.link.close()
        for current in self._peers.values():
            peer: Peer | None = current
            while peer is not None:
                if peer.task is not None:
                    peer.task.cancel()
                if peer.dialled is not None:
                    peer.dialled.abort()
                if peer.link is not None:
                    peer.link.close()
                peer = peer.before

    async def _dial_again(self, peer: Peer) -> None:
        await asyncio.sleep(REDIAL)
        await self._dial(peer)

    async def _dial(self, peer: Peer) -> None:
        terms = self._terms._replace(epoch=peer.spec.epoch)
        while not self._closed:
            link = dialling(self._side, self._me, peer.name, peer.spec.key, terms)
            link.state = peer
            peer.dialled = link
            try:
                async with asyncio.timeout(HANDSHAKE_TIME):
                    await self._connect(peer.spec.address, link, MAX_HANDSHAKE)
            except OSError:  # of which TimeoutError is one
                await asyncio.sleep(REDIAL)
            else:
                self._loop.call_later(HANDSHAKE_TIME, link.expire)
                return

    def _look_if_moved(self, peer: Peer) -> None:
        """Say so if `peer` is called under its newest keys and nothing is left of older ones."""
        if peer.link is None:
            return
        before = peer.before
        while before is not None:
            if before.link is not None:
                return
            before = before.before
        peer.before = None
        self._tell(Moved(peer.spec.name, peer.spec.epoch))


def _down(group: Group, seat: Seat) -> None:
    group.dispatch.down(seat)
    group.links.pop(seat, None)
    if not group.links and group.empty_since is None:
        group.empty_since = now()
