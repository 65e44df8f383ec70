"""A carrier with a session on it: the one thing that callers and responders speak through."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from ipc.clock import boot_ms
from ipc.stats import refusals, refuse
from ipc.wire.frame import LARGE, NO_CALL, Refusal, Refuse, Stale, max_frame
from ipc.wire.handshake import MAX_HANDSHAKE, NONCE_SIZE, Acceptor, Dialer
from ipc.wire.session import Terms
from ipc.wire.signing import ALG_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipc.messages.lifeline import Bootstrap
    from ipc.names import WorkerName
    from ipc.transport.base import Carrier
    from ipc.wire.frame import Frame
    from ipc.wire.session import Session


class Side(Protocol):
    """Who uses a link. All are called in the link's loop."""

    def established(self, link: Link) -> None:
        """Both ends have proved who they are."""
        ...

    def heard(self, link: Link, frame: Frame) -> None:
        """An authentic frame; raise Refuse for one that should not have been sent."""
        ...

    def stale(self, link: Link, frame: Frame) -> None:
        """An authentic frame that is too old: what it asks for must not be begun."""
        ...

    def ended(self, link: Link) -> None:
        """Nothing more can be said or heard. Called once, also if the link was never established."""
        ...


class Link:
    """One end. Refuses in silence: the peer is told nothing, the link is closed, the reason is counted."""

    __slots__ = (
        "_carrier",
        "_over",
        "_shaking",
        "_side",
        "_terms",
        "ending",
        "lock",
        "peer",
        "role",
        "session",
        "state",
    )

    def __init__(self, side: Side, terms: Terms, shaking: Dialer | Acceptor) -> None:
        self._side, self._terms = side, terms
        self._shaking: Dialer | Acceptor | None = shaking
        self._carrier: Carrier | None = None
        self._over = False
        self.session: Session | None = None
        self.lock = Lock()
        """Held while a frame is numbered, sealed and written: the order of the numbers is that of the bytes."""
        self.peer = b""
        """Seat and incarnation of the other end as the handshake proved them, 32 bytes."""
        self.role = ""
        """What the other end is, as the handshake proved it, where it is the one who dialled: `web` or `exec`."""
        self.ending = False
        """What was begun on it may end there; nothing is begun any more."""
        self.state: object = None
        """Whatever its user wants to remember with it."""

    # -- the owner's side

    @property
    def max_payload(self) -> int:
        """The largest body, bytes."""
        return self._terms.max_payload

    @property
    def open(self) -> bool:
        """Whether what is said may still arrive. From any thread."""
        return self.session is not None and self._carrier is not None and not self._over

    def send(
        self,
        kind: int,
        call_id: bytes = NO_CALL,
        meta: bytes = b"",
        body: bytes | memoryview = b"",
        flags: int = 0,
        budget_ms: int = 0,
    ) -> None:
        """Say one thing, from any thread. On a link that has ended it does nothing: `ended` has said so or will.

        Raises Refuse(TOO_LARGE) for what is over the link's bounds; nothing was sent then.
        """
        with self.lock:
            session, carrier = self.session, self._carrier
            if session is not None and carrier is not None:
                parts = session.parts(kind, boot_ms(), call_id, meta, body, flags, budget_ms)
                if len(body) < LARGE:
                    carrier.write(b"".join(parts))
                else:
                    carrier.writelines(parts)

    def close(self) -> None:
        """End it once what was said is sent. Nothing more is heard; `ended` follows."""
        self._over = True
        if self._carrier is not None:
            self._carrier.close()

    def abort(self) -> None:
        """End it now; `ended` follows."""
        self._over = True
        if self._carrier is not None:
            self._carrier.abort()

    def expire(self) -> None:
        """The other end has had its time to prove who it is."""
        if self.session is None and self._carrier is not None:
            self._refuse(Refusal.TIMEOUT)

    # -- the carrier's side

    def opened(self, carrier: Carrier) -> None:
        """The carrier stands; the one who dialled speaks first."""
        self._carrier = carrier
        if self._over:
            carrier.abort()  # somebody gave up while the connection was being made
        elif isinstance(self._shaking, Dialer):
            self._say(self._shaking.hello())

    def received(self, frame: bytes | bytearray) -> None:
        """One frame, from whoever it may be."""
        if self._over:
            return  # it came in one piece with the one that ended it
        try:
            if self.session is None:
                self._shake(frame)
            else:
                self._side.heard(self, self.session.open(frame, boot_ms()))
        except Stale as stale:
            self._stale(stale.frame)
        except Refuse as refused:
            self._refuse(refused.reason)

    def _stale(self, frame: Frame) -> None:
        refuse(Refusal.EXPIRED)
        try:
            self._side.stale(self, frame)
        except Refuse as refused:
            self._refuse(refused.reason)

    def _refuse(self, reason: Refusal) -> None:
        refuse(reason)
        self.abort()

    def closed(self) -> None:
        """The carrier is gone."""
        with self.lock:
            self._carrier = None
        self._side.ended(self)

    def _shake(self, message: bytes | bytearray) -> None:
        shaking = self._shaking
        if isinstance(shaking, Dialer):
            finish, session = shaking.accept(message, boot_ms())
            self._say(finish)
            self._establish(session)
        elif shaking is None:
            raise Refuse(Refusal.HANDSHAKE)
        elif not shaking.client:
            self._say(shaking.hello(message, boot_ms()))
        else:
            session = shaking.finish(message, boot_ms())
            self.peer, self.role = shaking.client, shaking.role
            self._establish(session)

    def _establish(self, session: Session) -> None:
        if self._carrier is not None:
            self._carrier.limit(max_frame(self._terms.max_payload))
        self.session = session
        self._shaking = None  # and with it the leaf, which outlives no rotation
        self._side.established(self)

    def _say(self, message: bytes) -> None:
        with self.lock:
            if self._carrier is not None:
                self._carrier.write(len(message).to_bytes(4, "big") + message)


def terms_of(bootstrap: Bootstrap, carrier: str) -> Terms:
    """What a worker was told of its links, in the form in which both ends must agree on it.

    The epoch is that of its first keys; who dials takes the epoch of the peer's key.
    """
    limits = bootstrap.limits
    ttl_ms = int(limits.ttl * 1000)
    return Terms(carrier, ALG_OF[bootstrap.mode], bootstrap.epoch, limits.max_payload, ttl_ms, limits.window)


def dialling(side: Side, me: WorkerName, peer: WorkerName, leaf: bytes, terms: Terms) -> Link:
    """The end of who wants to speak to `peer`; `leaf` is of the epoch and the role in `terms`."""
    link = Link(side, terms, Dialer(me, peer, leaf, terms, os.urandom(NONCE_SIZE), boot_ms()))
    link.peer = peer.wire_id + peer.wire_incarnation
    return link


def accepting(side: Side, me: WorkerName, secrets: Mapping[int, bytes], terms: Terms) -> Link:
    """The end of an exec worker that somebody has connected to. `secrets` are those of each epoch it accepts."""
    return Link(side, terms, Acceptor(me, secrets, terms, os.urandom(NONCE_SIZE)))


__all__ = ["MAX_HANDSHAKE", "Link", "Side", "accepting", "dialling", "refusals", "terms_of"]
