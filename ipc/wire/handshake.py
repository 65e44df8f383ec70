"""How two workers prove to each other who they are. Pure: nonces and the time are arguments.

    client -> server   HELLO    who I am, whom I want, my nonce, our terms; a proof that I hold the leaf key
    server -> client   ACCEPT   my nonce, my clock; a proof over everything said so far
    client -> server   FINISH   my clock; a proof over everything said so far

The server derives the client's key from its own secret, so it keeps nothing about a client that has not proved
itself, and every message has a fixed size. The keys of the session follow from both nonces: a recorded HELLO is
worth nothing, because its replayer cannot finish.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

from ipc.fork import wiped_at_fork
from ipc.messages.calls import Kind
from ipc.wire.frame import MAGIC, VERSION, Refusal, Refuse
from ipc.wire.keys import PROTOCOL, client_key, expand, lp, session_keys
from ipc.wire.session import ONE_CLOCK, Session, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipc.names import WorkerName

_HELLO = struct.Struct(">2sBBBBBBIIIQ16s16s16s16s32s")
_ACCEPT = struct.Struct(">2sBBQ32s")
_FINISH = struct.Struct(">2sBBQ")
_MAC = 32
HELLO_SIZE = _HELLO.size + _MAC
ACCEPT_SIZE = _ACCEPT.size + _MAC
FINISH_SIZE = _FINISH.size + _MAC
MAX_HANDSHAKE = 256
"""No message of a handshake is longer, so nobody unproved makes us keep more than this."""
NONCE_SIZE = 32
ROUND_TRIP_MS = 2000
"""Between hosts a slower handshake is refused: by as much, at most, it could make later frames look younger than they
are, for it is there that the difference of the clocks is measured."""


class _Role(enum.IntEnum):
    WEB = 1
    EXEC = 2


_CLIENTS = {int(_Role.WEB): "web", int(_Role.EXEC): "exec"}


def _transcript(terms: Terms, client: bytes, server: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    limits = struct.pack(">BIQ", terms.alg, terms.max_payload, terms.ttl_ms)
    epoch = terms.epoch.to_bytes(4, "big")
    said = lp(
        PROTOCOL, terms.carrier.encode(), terms.client.encode(), client, b"exec", server, epoch, client_nonce,
        server_nonce, limits,
    )  # fmt: skip
    return hashlib.sha256(said).digest()


def _proof(key: bytes, *said: bytes) -> bytes:
    return hmac.digest(key, b"".join(said), "sha256")


def _check(message: bytes | bytearray, size: int, kind: Kind) -> bytes:
    if len(message) != size:
        raise Refuse(Refusal.LENGTH)
    if bytes(message[:2]) != MAGIC or message[2] != VERSION:
        raise Refuse(Refusal.VERSION)
    if message[3] != kind:
        raise Refuse(Refusal.KIND)
    return bytes(message)


def _offset(terms: Terms, measured: int, round_trip: int) -> int:
    """Our clock minus the peer's. Where both read the same clock nothing is measured, and nothing is too slow.

    An exec worker may take long to answer, for as long as a node keeps the interpreter from everything else.
    """
    if terms.number in ONE_CLOCK:
        return 0
    if round_trip > ROUND_TRIP_MS:
        raise Refuse(Refusal.TIMEOUT)
    return measured


class Dialer:
    """The client's half: a web worker, or an exec worker that forwards, that wants to speak to one exec worker."""

    def __init__(self, me: WorkerName, peer: WorkerName, leaf: bytes, terms: Terms, nonce: bytes, now_ms: int) -> None:
        self._client = me.wire_id + me.wire_incarnation
        self._server = peer.wire_id + peer.wire_incarnation
        self._leaf, self._terms, self._nonce, self._began = leaf, terms, nonce, now_ms
        wiped_at_fork(self)

    def wipe(self) -> None:
        """Prove nothing any more; see `ipc.fork`."""
        self._leaf = b""

    def hello(self) -> bytes:
        """The first message."""
        role = _Role[self._terms.client.upper()]
        said = _HELLO.pack(
            MAGIC, VERSION, Kind.HELLO, self._terms.alg, self._terms.number, role, _Role.EXEC,
            self._terms.epoch, self._terms.max_payload, 0, self._terms.ttl_ms,
            self._client[:16], self._client[16:], self._server[:16], self._server[16:], self._nonce,
        )  # fmt: skip
        return said + _proof(expand(self._leaf, b"hello"), said)

    def accept(self, message: bytes | bytearray, now_ms: int) -> tuple[bytes, Session]:
        """Check the server's proof; return FINISH and the session. Refuse if it is not who it should be."""
        said = _check(message, ACCEPT_SIZE, Kind.ACCEPT)
        _, _, _, server_ms, server_nonce = _ACCEPT.unpack_from(said)
        transcript = _transcript(self._terms, self._client, self._server, self._nonce, server_nonce)
        keys = session_keys(self._leaf, transcript)
        if not hmac.compare_digest(_proof(keys.confirm_server, transcript, said[:-_MAC]), said[-_MAC:]):
            raise Refuse(Refusal.MAC)
        round_trip = now_ms - self._began
        offset = _offset(self._terms, now_ms - round_trip // 2 - server_ms, round_trip)
        finish = _FINISH.pack(MAGIC, VERSION, Kind.FINISH, now_ms)
        session = Session(keys, self._terms, client=True, offset_ms=offset)
        return finish + _proof(keys.confirm_client, transcript, finish), session


class Acceptor:
    """The server's half, one for each connection."""

    def __init__(self, me: WorkerName, secrets: Mapping[int, bytes], terms: Terms, nonce: bytes) -> None:
        """`secrets` are those of every epoch that is accepted; while keys are rotated there are two."""
        self._server = me.wire_id + me.wire_incarnation
        self._secrets, self._terms, self._nonce = secrets, terms, nonce
        self._waiting: tuple[bytes, bytes, int] | None = None  # leaf, transcript, when
        self.client = b""
        """The client's seat and incarnation as the handshake carries them, 32 bytes; empty before HELLO."""
        self.role = ""
        """What the client is, `web` or `exec`; empty before HELLO."""
        wiped_at_fork(self)

    def wipe(self) -> None:
        """Prove and believe nothing any more; see `ipc.fork`."""
        self._secrets, self._waiting = {}, None

    def hello(self, message: bytes | bytearray, now_ms: int) -> bytes:
        """Check who asks for whom under which terms; return ACCEPT."""
        said = _check(message, HELLO_SIZE, Kind.HELLO)
        (_, _, _, alg, carrier, role_c, role_s, epoch, max_payload, reserved, ttl, *ids) = _HELLO.unpack_from(said)
        id_c, inc_c, id_s, inc_s, client_nonce = ids
        terms = self._terms
        if alg != terms.alg:
            raise Refuse(Refusal.ALG)
        secret = self._secrets.get(epoch)
        if secret is None:
            raise Refuse(Refusal.EPOCH)
        if id_s + inc_s != self._server:
            raise Refuse(Refusal.SESSION)
        expected = (terms.number, _Role.EXEC, terms.max_payload, 0, terms.ttl_ms)
        role = _CLIENTS.get(role_c)
        if role is None or (carrier, role_s, max_payload, reserved, ttl) != expected:
            raise Refuse(Refusal.HANDSHAKE)
        self._terms = terms = terms._replace(epoch=epoch, client=role)
        leaf = client_key(secret, id_c, inc_c, role)
        if not hmac.compare_digest(_proof(expand(leaf, b"hello"), said[:-_MAC]), said[-_MAC:]):
            raise Refuse(Refusal.MAC)
        self.client, self.role = id_c + inc_c, role
        transcript = _transcript(terms, self.client, self._server, client_nonce, self._nonce)
        self._waiting = (leaf, transcript, now_ms)
        accept = _ACCEPT.pack(MAGIC, VERSION, Kind.ACCEPT, now_ms, self._nonce)
        return accept + _proof(session_keys(leaf, transcript).confirm_server, transcript, accept)

    def finish(self, message: bytes | bytearray, now_ms: int) -> Session:
        """Check the client's proof; return the session."""
        said = _check(message, FINISH_SIZE, Kind.FINISH)
        if self._waiting is None:
            raise Refuse(Refusal.HANDSHAKE)
        leaf, transcript, began = self._waiting
        keys = session_keys(leaf, transcript)
        if not hmac.compare_digest(_proof(keys.confirm_client, transcript, said[:-_MAC]), said[-_MAC:]):
            raise Refuse(Refusal.MAC)
        offset = _offset(self._terms, now_ms - _FINISH.unpack_from(said)[3], now_ms - began)
        return Session(keys, self._terms, client=False, offset_ms=offset)
