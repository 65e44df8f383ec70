"""One authenticated connection: numbers, seals and opens frames in the one right order of checks."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from ipc.fork import wiped_at_fork
from ipc.messages.calls import FROM_EXEC, FROM_WEB
from ipc.wire.frame import (
    HEADER,
    HEADER_SIZE,
    KNOWN_FLAGS,
    LARGE,
    MAGIC,
    MAX_META,
    MIN_FRAME,
    NO_CALL,
    PREFIX,
    VERSION,
    Frame,
    Refusal,
    Refuse,
    Stale,
)
from ipc.wire.replay import LAST, LEAST_WINDOW, BitmapWindow, StrictCounter
from ipc.wire.signing import Alg, NoSeal, seal_for

if TYPE_CHECKING:
    from ipc.wire.keys import SessionKeys
    from ipc.wire.replay import Replay
    from ipc.wire.signing import Seal

FUTURE_MS = 3000
"""How far ahead of us a peer's clock may seem: what the handshake may take, all of which may be its measuring error
if one end was busy, and a second of drift since."""
_frame = tuple.__new__  # a third of the price of the constructor that NamedTuple makes


class Carrier(enum.IntEnum):
    """The carrier's number in a handshake: a session of one carrier means nothing on another."""

    MEMORY = 1
    TCP_LOCAL = 2
    UNIX = 3
    REDIS = 4
    """Kept for later."""


IN_ORDER = frozenset({Carrier.MEMORY, Carrier.TCP_LOCAL, Carrier.UNIX})
"""Carriers that keep order: on these a frame must be the very next one. On all others the window decides."""
ONE_CLOCK = frozenset({Carrier.MEMORY, Carrier.TCP_LOCAL, Carrier.UNIX})
"""Carriers that end at the host: both ends read the same CLOCK_BOOTTIME."""


class Terms(NamedTuple):
    """What both ends must agree on before anything is said: it is in the transcript, but for the window.

    What a receiver remembers is no matter of agreement, and it cannot be switched off: the carrier says how strict it
    is, and a window below the least is an error.
    """

    carrier: str
    alg: Alg
    epoch: int
    max_payload: int
    ttl_ms: int
    window: int = LEAST_WINDOW
    """How far behind the newest a frame may come, in frames, on a carrier that does not keep order."""
    client: str = "web"
    """What dials: a `web` worker, or an `exec` worker that sends a pipeline's calls on."""

    @property
    def number(self) -> Carrier:
        """The carrier; KeyError for one that does not exist."""
        return Carrier[self.carrier.upper()]


def replay_for(terms: Terms) -> Replay:
    """What tells old frames from new ones in a session of these terms."""
    return StrictCounter() if terms.number in IN_ORDER else BitmapWindow(terms.window)


class Session:
    """Both directions of one connection. Not thread-safe: sealing and writing must have one owner at a time."""

    __slots__ = (
        "__weakref__",
        "_alg",
        "_in",
        "_in_sid",
        "_in_skips",
        "_kinds",
        "_max_payload",
        "_offset",
        "_out",
        "_out_counter",
        "_out_sid",
        "_tag",
        "_ttl",
        "_window",
        "epoch",
    )

    def __init__(self, keys: SessionKeys, terms: Terms, *, client: bool, offset_ms: int) -> None:
        """`offset_ms` is our clock minus the peer's, as the handshake measured it."""
        outward, inward = keys.client_to_server, keys.server_to_client
        if not client:
            outward, inward = inward, outward
        self._out: Seal = seal_for(terms.alg, outward)
        self._in: Seal = seal_for(terms.alg, inward)
        self._in_skips = self._in.offset
        wiped_at_fork(self)
        self._out_sid, self._in_sid = outward.sid, inward.sid
        self._kinds = frozenset(int(kind) for kind in (FROM_EXEC if client else FROM_WEB))
        self._alg, self._tag = int(terms.alg), self._out.tag_size
        self._max_payload, self._ttl = terms.max_payload, terms.ttl_ms
        self._offset = offset_ms
        self.epoch = terms.epoch
        self._out_counter = 0
        self._window = replay_for(terms)

    def wipe(self) -> None:
        """Seal and open nothing any more; see `ipc.fork`."""
        self._out = self._in = NoSeal()

    def seal(
        self,
        kind: int,
        now_ms: int,
        call_id: bytes = NO_CALL,
        meta: bytes = b"",
        body: bytes | memoryview = b"",
        flags: int = 0,
        budget_ms: int = 0,
        seq: int = 0,
    ) -> bytes:
        """The next frame of this direction with its length in front; see `parts`."""
        return b"".join(self.parts(kind, now_ms, call_id, meta, body, flags, budget_ms, seq))

    def parts(
        self,
        kind: int,
        now_ms: int,
        call_id: bytes = NO_CALL,
        meta: bytes = b"",
        body: bytes | memoryview = b"",
        flags: int = 0,
        budget_ms: int = 0,
        seq: int = 0,
    ) -> list[bytes | memoryview]:
        """The next frame of this direction, to be sent as one; what is large in it is not copied.

        Raises Refuse(TOO_LARGE) without using up a number if meta or body is over its bound.
        """
        meta_size, body_size = len(meta), len(body)
        if meta_size > MAX_META or body_size > self._max_payload:
            raise Refuse(Refusal.TOO_LARGE)
        counter = self._out_counter
        if counter >= LAST:
            raise Refuse(Refusal.EXHAUSTED)
        header = HEADER.pack(
            MAGIC, VERSION, kind, flags, self._alg, meta_size, body_size, self.epoch,
            self._out_sid, counter, now_ms, call_id, seq, budget_ms,
        )  # fmt: skip
        self._out_counter = counter + 1
        size = PREFIX.pack(HEADER_SIZE + meta_size + body_size + self._tag)
        return [size, *self._out.close(header, meta, body, counter)]

    def open(self, frame: bytes | bytearray, now_ms: int) -> Frame:  # noqa: C901, PLR0912 - the order is the point
        """What an authentic frame says; Stale if it says it too late, Refuse for everything else.

        Cheap checks first, and nothing is remembered or decoded before the tag was found right.
        """
        size = len(frame)
        if size < MIN_FRAME:
            raise Refuse(Refusal.SHORT)
        (magic, version, kind, flags, alg, meta_size, body_size, epoch, sid, counter, sent, call_id, seq, budget) = (
            HEADER.unpack_from(frame)
        )
        if magic != MAGIC or version != VERSION:
            raise Refuse(Refusal.VERSION)
        if flags & ~KNOWN_FLAGS:
            raise Refuse(Refusal.FLAGS)
        if alg != self._alg:
            raise Refuse(Refusal.ALG)
        if meta_size > MAX_META or body_size > self._max_payload:
            raise Refuse(Refusal.TOO_LARGE)
        body_at = HEADER_SIZE + meta_size
        end = body_at + body_size
        if end + self._tag != size:
            raise Refuse(Refusal.LENGTH)
        if kind not in self._kinds:
            raise Refuse(Refusal.KIND)
        if sid != self._in_sid:
            raise Refuse(Refusal.SESSION)
        if epoch != self.epoch:
            raise Refuse(Refusal.EPOCH)
        if (reason := self._window.check(counter)) is not None:
            raise Refuse(reason)
        plain = self._in.open(frame, counter)
        self._window.commit(counter)
        age = now_ms - sent - self._offset
        if age < -FUTURE_MS:
            raise Refuse(Refusal.FUTURE)
        meta_at = self._in_skips
        body_at, end = meta_at + meta_size, meta_at + meta_size + body_size
        if body_size >= LARGE:
            view = memoryview(plain)
            opened = Frame(kind, flags, call_id, seq, budget, view[meta_at:body_at], view[body_at:end], max(0, age))
        else:
            meta = bytes(plain[meta_at:body_at])
            body = bytes(plain[body_at:end])
            opened = _frame(Frame, (kind, flags, call_id, seq, budget, meta, body, max(0, age)))
        if age > self._ttl:
            raise Stale(opened)
        return opened
