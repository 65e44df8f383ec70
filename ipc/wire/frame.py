"""The frame: a 64-byte header, meta, body, tag; and every reason for which one is refused."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from ipc.errors import BadMessage

MAGIC = b"\xe5\x4e"
"""Not UTF-8, HTTP, RESP or pickle: a stray client fails on its first byte."""
VERSION = 1
HEADER = struct.Struct(">2sBBBBHIIQQQ16sII")
"""magic, version, kind, flags, alg, meta length, body length, epoch, sid, counter, ms, call id, seq, budget in ms"""
HEADER_SIZE = 64
PREFIX = struct.Struct(">I")
MAX_META = 4096
MAX_TAG = 32
MIN_FRAME = HEADER_SIZE + 16
KNOWN_FLAGS = 0x1F
LARGE = 65_536
"""Bodies from here on are neither copied nor joined with the rest of their frame where that can be avoided."""
NO_CALL = bytes(16)
"""The call id of frames that are about no call."""


class Refusal(enum.Enum):
    """Why a frame was refused. Each is a counter; none is ever told to the peer."""

    SHORT = "short"
    VERSION = "version"
    FLAGS = "flags"
    ALG = "alg"
    TOO_LARGE = "too_large"
    LENGTH = "length"
    KIND = "kind"
    SESSION = "session"
    EPOCH = "epoch"
    REPLAY = "replay"
    GAP = "gap"
    TOO_OLD = "too_old"
    EXHAUSTED = "exhausted"
    MAC = "mac"
    EXPIRED = "expired"
    FUTURE = "future"
    DECODE = "decode"
    UNAUTHORISED = "unauthorised"
    HANDSHAKE = "handshake"
    USER = "user"
    TIMEOUT = "timeout"


class Refuse(BadMessage):
    """A frame (or handshake message) was refused for `reason`; on a stream the link is closed without a word."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Frame(NamedTuple):
    """One authentic frame. `body` is bytes, or for large ones a view into the frame's own buffer."""

    kind: int
    flags: int
    call_id: bytes
    seq: int
    budget_ms: int
    meta: bytes | memoryview
    body: bytes | memoryview
    age_ms: int = 0
    """How long ago it was sealed, never negative. It may have lain in a socket for longer than its budget."""


class Stale(Refuse):
    """A frame that is authentic and in its place, but older than `ttl`: what it asks for must not be begun any more.

    An honest peer's frames become so old too, while a node keeps the interpreter to itself or the machine sleeps.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__(Refusal.EXPIRED)
        self.frame = frame


def max_frame(max_payload: int) -> int:
    """The longest frame of a session whose bodies have at most `max_payload` bytes."""
    return HEADER_SIZE + MAX_META + max_payload + MAX_TAG
