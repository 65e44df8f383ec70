"""What an attacker on the link has to work with: honest ends, everything they ever said, and a pen."""

from __future__ import annotations

import itertools
import os
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ipc.link import Link, accepting, dialling
from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.wire import handshake
from ipc.wire.frame import HEADER, HEADER_SIZE, Refuse, Stale
from ipc.wire.handshake import MAX_HANDSHAKE, Acceptor, Dialer
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Carrier, Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.frame import Frame, Refusal
    from ipc.wire.session import Session

SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
"""How many times longer than in `make test`."""
ROOT = bytes(range(32))
WEB, OTHER_WEB = WorkerName("web", 0, 3), WorkerName("web", 1, 3)
EXEC, OTHER_EXEC = WorkerName("cpu", 1, 7), WorkerName("cpu", 0, 7)
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 3, 1 << 16, 30_000)
NOW = 1_000_000
CALL = bytes(range(16))
FIELDS = (
    "magic",
    "version",
    "kind",
    "flags",
    "alg",
    "meta_size",
    "body_size",
    "epoch",
    "sid",
    "counter",
    "time",
    "call_id",
    "seq",
    "budget",
)
HELLO_FIELDS = (
    "magic",
    "version",
    "kind",
    "alg",
    "carrier",
    "client_role",
    "server_role",
    "epoch",
    "max_payload",
    "reserved",
    "ttl",
    "client",
    "client_life",
    "server",
    "server_life",
    "nonce",
)


def carriers() -> list[str]:
    """Every carrier a session may have."""
    return [carrier.name.lower() for carrier in Carrier]


def number_of(terms: Terms) -> int:
    """The carrier's number in a HELLO."""
    return terms.number


def secret_of(server: WorkerName = EXEC, epoch: int = TERMS.epoch) -> bytes:
    """What one exec worker holds."""
    return server_secret(root_for_epoch(ROOT, epoch), server)


def leaf_of(client: WorkerName = WEB, server: WorkerName = EXEC, epoch: int = TERMS.epoch) -> bytes:
    """What one web worker holds towards one exec worker."""
    return leaf_key(secret_of(server, epoch), client)


def dialer(
    client: WorkerName = WEB,
    server: WorkerName = EXEC,
    terms: Terms = TERMS,
    leaf: bytes = b"",
    nonce: bytes = bytes([1]) * 32,
    now: int = NOW,
) -> Dialer:
    """An honest client's half, or one with somebody else's leaf."""
    return Dialer(client, server, leaf or leaf_of(client, server, terms.epoch), terms, nonce, now)


def acceptor(
    server: WorkerName = EXEC, terms: Terms = TERMS, secret: bytes = b"", nonce: bytes = bytes([2]) * 32
) -> Acceptor:
    """An honest server's half, or one with somebody else's secret."""
    return Acceptor(server, {terms.epoch: secret or secret_of(server, terms.epoch)}, terms, nonce)


class Shaken(NamedTuple):
    """Both sessions, and the three messages that somebody may have recorded."""

    client: Session
    server: Session
    messages: tuple[bytes, bytes, bytes]


_nonces = itertools.count(1)


def shake(near: Dialer | None = None, far: Acceptor | None = None, now: int = NOW) -> Shaken:
    """One handshake to its end; fresh nonces unless halves are given."""
    near = near or dialer(nonce=next(_nonces).to_bytes(32, "big"))
    far = far or acceptor(nonce=next(_nonces).to_bytes(32, "big"))
    hello = near.hello()
    accept = far.hello(hello, now)
    finish, client = near.accept(accept, now)
    return Shaken(client, far.finish(finish, now), (hello, accept, finish))


def pair(terms: Terms = TERMS, client: WorkerName = WEB, server: WorkerName = EXEC) -> Shaken:
    """A fresh session between two honest ends."""
    nonces = next(_nonces).to_bytes(32, "big"), next(_nonces).to_bytes(32, "little")
    return shake(dialer(client, server, terms, nonce=nonces[0]), acceptor(server, terms, nonce=nonces[1]))


def seal(session: Session, kind: int = Kind.REQUEST, now: int = NOW, **more: Any) -> bytes:
    """The next frame, without the length in front."""
    return session.seal(kind, now, **more)[4:]


def fields_of(frame: bytes) -> dict[str, Any]:
    """A frame's header by name."""
    return dict(zip(FIELDS, HEADER.unpack_from(frame), strict=True))


def rewritten(frame: bytes, **fields: int | bytes) -> bytes:
    """The frame with other fields in its header and the tag it had."""
    return HEADER.pack(*(fields_of(frame) | fields).values()) + frame[HEADER_SIZE:]


def rewritten_hello(hello: bytes, **fields: int | bytes) -> bytes:
    """The same for a HELLO."""
    values = dict(zip(HELLO_FIELDS, handshake._HELLO.unpack_from(hello), strict=True)) | fields
    return handshake._HELLO.pack(*values.values()) + hello[handshake._HELLO.size :]


def accepts(session: Session, frame: bytes, now: int = NOW) -> bool:
    """Whether it believes this frame, be it too old to act on."""
    try:
        session.open(frame, now)
    except Stale:
        return True
    except Refuse:
        return False
    return True


def acts_on(session: Session, frame: bytes, now: int = NOW) -> bool:
    """Whether it believes this frame and would do what it says."""
    try:
        session.open(frame, now)
    except Refuse:
        return False
    return True


def refusal(attempt: Callable[..., object], *arguments: object) -> Refusal | None:
    """Why it was refused; None if it was not."""
    try:
        attempt(*arguments)
    except Refuse as refused:
        return refused.reason
    return None


# -- whole links, on carriers that only take notes


class Side:
    """Who uses a link, and all it was told."""

    def __init__(self) -> None:
        self.up = self.over = False
        self.frames: list[Frame] = []
        self.late: list[Frame] = []

    def established(self, _link: Link) -> None:
        self.up = True

    def heard(self, _link: Link, frame: Frame) -> None:
        self.frames.append(frame)

    def stale(self, _link: Link, frame: Frame) -> None:
        self.late.append(frame)

    def ended(self, _link: Link) -> None:
        self.over = True


class Wire:
    """A carrier that keeps what was written."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.said: list[bytes] = []
        self.aborted = False
        self.largest = MAX_HANDSHAKE

    def write(self, data: bytes) -> None:
        self.sent.append(data[4:])
        self.said.append(data[4:])

    def limit(self, largest: int) -> None:
        self.largest = largest

    def close(self) -> None:
        self.aborted = True

    abort = close


class Ends:
    """A web worker's end and an exec worker's; nothing moves unless `move` is called."""

    def __init__(self, terms: Terms = TERMS, client: WorkerName = WEB, server: WorkerName = EXEC) -> None:
        self.near_side, self.far_side = Side(), Side()
        self.near_wire, self.far_wire = Wire(), Wire()
        self.near = dialling(self.near_side, client, server, leaf_of(client, server, terms.epoch), terms)
        self.far = accepting(self.far_side, server, {terms.epoch: secret_of(server, terms.epoch)}, terms)
        self.near.opened(self.near_wire)
        self.far.opened(self.far_wire)

    def move(self) -> Ends:
        """Carry across everything that was said."""
        while self.near_wire.sent or self.far_wire.sent:
            while self.near_wire.sent:
                self.far.received(self.near_wire.sent.popleft())
            while self.far_wire.sent:
                self.near.received(self.far_wire.sent.popleft())
        return self


def stranger(terms: Terms = TERMS) -> tuple[Link, Side, Wire]:
    """An exec worker's end for a connection of nobody knows whom, with the same worker behind it."""
    side, wire = Side(), Wire()
    link = accepting(side, EXEC, {terms.epoch: secret_of(EXEC, terms.epoch)}, terms)
    link.opened(wire)
    return link, side, wire
