"""The tree of keys. Whoever holds a node can derive what is below it and nothing else.

    root                 the supervisor alone
      epoch root         one for each rotation; the supervisor alone
        server secret    one exec worker's life; that worker can derive the key of each client
          leaf key       one web worker's life towards that exec worker, or that of an exec worker that forwards to it
            session      fresh for each connection: both sides' nonces are in its salt (see `handshake`)

HKDF is RFC 5869 with SHA-256.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from ipc.names import WorkerName

KEY_SIZE = 32
PROTOCOL = b"envelope/1"


def lp(*parts: bytes) -> bytes:
    """The parts with their lengths in front: no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 section 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, size: int = KEY_SIZE) -> bytes:
    """HKDF-Expand (RFC 5869 section 2.3)."""
    return HKDFExpand(SHA256(), size, info).derive(key)


def root_for_epoch(root: bytes, epoch: int) -> bytes:
    """The key above all others of one epoch. Raises ValueError for a root that is too short to be secret."""
    if len(root) < KEY_SIZE:
        raise ValueError(f"the root secret has {len(root)} bytes; at least {KEY_SIZE} are needed")
    return extract(PROTOCOL + b"/epoch/" + epoch.to_bytes(4, "big"), root)


def server_secret(epoch_root: bytes, worker: WorkerName) -> bytes:
    """What one life of one exec worker is given."""
    return expand(epoch_root, lp(b"server", b"exec", worker.wire_id, worker.wire_incarnation))


def leaf_key(secret: bytes, client: WorkerName, role: str = "web") -> bytes:
    """What one life of one worker is given to speak to the owner of `secret`, as a `web` or as an `exec` worker."""
    return client_key(secret, client.wire_id, client.wire_incarnation, role)


def client_key(secret: bytes, client_id: bytes, client_incarnation: bytes, role: str = "web") -> bytes:
    """The same from what a handshake carries; the server keeps no table of clients.

    The role is in the key: who has one for forwarding calls can never pass for a web worker.
    """
    return expand(secret, lp(b"client", role.encode(), client_id, client_incarnation))


class DirectionKeys(NamedTuple):
    """One direction of one session."""

    key: bytes
    salt: bytes
    sid: int

    def __repr__(self) -> str:
        return f"DirectionKeys(sid={self.sid:#x})"


class SessionKeys(NamedTuple):
    """All keys of one connection."""

    client_to_server: DirectionKeys
    server_to_client: DirectionKeys
    confirm_client: bytes
    confirm_server: bytes

    def __repr__(self) -> str:
        return f"SessionKeys({self.client_to_server!r}, {self.server_to_client!r})"


def session_keys(leaf: bytes, transcript: bytes) -> SessionKeys:
    """What both ends derive once they have seen each other's nonce."""
    prk = extract(transcript, leaf)

    def direction(label: bytes) -> DirectionKeys:
        sid = int.from_bytes(expand(prk, b"sid|" + label, 8), "big")
        return DirectionKeys(expand(prk, b"key|" + label), expand(prk, b"iv|" + label, 4), sid)

    return SessionKeys(direction(b"c2s"), direction(b"s2c"), expand(prk, b"confirm|c"), expand(prk, b"confirm|s"))
