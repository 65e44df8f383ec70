"""What a web worker and an exec worker say to each other: the kinds of frames and the meta they carry.

    web  -> exec   REQUEST, CANCEL, DECLINE, CLOSE, WANTED
    exec -> web    REPLY, FAILURE, NOT_STARTED, READY, FORWARDED, CLOSE
    exec -> exec   what a web worker says, to send a pipeline's call on, and what is answered to it

The numbers are disjoint, so that a frame sent back to its sender is refused by its kind as well as by its key. Those
of chunks, credits and beats (2, 4, 6, 17, 21, 22) are kept free for streams. Metas are msgpack arrays: new fields
come last and have a default, so that an older peer still reads. Bodies stay bytes until a node's type is known.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ipc.errors import Cancelled, Draining, Expired, IpcError, NoSuchNode


class Kind(enum.IntEnum):
    """The kind of a frame, one byte in its header."""

    REQUEST = 1
    CANCEL = 3
    DECLINE = 5
    CLOSE = 7
    WANTED = 9
    REPLY = 16
    FAILURE = 18
    NOT_STARTED = 19
    READY = 20
    CLOSED = 23
    FORWARDED = 24
    HELLO = 32
    ACCEPT = 33
    FINISH = 34


FROM_WEB = frozenset({Kind.REQUEST, Kind.CANCEL, Kind.DECLINE, Kind.CLOSE, Kind.WANTED})
"""What a web worker may say to an exec worker."""
FROM_EXEC = frozenset({Kind.REPLY, Kind.FAILURE, Kind.NOT_STARTED, Kind.READY, Kind.CLOSED, Kind.FORWARDED})
"""What an exec worker may say to a web worker."""


class Flag(enum.IntFlag):
    """Bits of a frame's header; any other bit is refused."""

    AGAIN = 4
    """REQUEST: a worker that may have begun it is gone. Nobody else's call is to be run together with it."""
    LAST_RESORT = 8
    """REQUEST: the sender knows of no other worker that is free."""
    READY = 16
    """REPLY, FAILURE, FORWARDED: the slot this call leaves is the receiver's until it sends REQUEST or DECLINE."""


class Encoding(enum.IntEnum):
    """What the bytes of a body are."""

    NONE = 0
    RAW = 1
    JSON = 2
    MSGPACK = 3


class NotStarted(enum.IntEnum):
    """Why a call was not begun. Asking elsewhere is safe."""

    BUSY = 1
    EXPIRED = 2
    CANCELLED = 3
    DRAINING = 4
    UNKNOWN_NODE = 5
    NOT_YET = 6
    """This one cannot be taken now. Others can: no READY follows."""


class Stage(Struct, frozen=True, array_like=True):
    """One more node of a pipeline: the result of the one before is its body."""

    node: str
    params: msgspec.Raw = msgspec.Raw(b"\x80")
    """Its scalar parameters, a msgpack map."""


MAX_BEYOND_MS = 2**32 - 1
"""As much as a budget may be."""


class RequestMeta(Struct, frozen=True, array_like=True):
    """Which node is asked, for whom, and how to read and write the body."""

    node: str
    request_id: str
    trace: str
    """A W3C traceparent."""
    reply_to: str
    """The web worker that waits for the answer."""
    encoding: int = 0
    reply_as: int = 2
    """How a structured result is to be encoded (`Encoding.JSON` or `MSGPACK`); raw results stay raw."""
    params: msgspec.Raw = msgspec.Raw(b"\x80")
    """The scalar parameters, a msgpack map."""
    rest: tuple[Stage, ...] = ()
    """What follows the node in a pipeline, in order."""
    beyond_ms: Annotated[int, Meta(ge=0, le=MAX_BEYOND_MS)] = 0
    """How much longer than the budget it may run before its worker is ended: its client gave it so much less."""


class ReplyMeta(Struct, frozen=True, array_like=True):
    """How to read the result, and how it went."""

    room: int
    """How many calls at once the worker would take from this web worker from now on (at least 1)."""
    waited_us: int
    ran_us: int
    encoding: int = 0
    status: int = 0
    """An HTTP-like status the node asked for; 0 for the endpoint's own."""
    media_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class FailureMeta(Struct, frozen=True, array_like=True):
    """The call was begun and the answer is no."""

    room: int
    code: str
    detail: str
    stage: str = ""
    """The node of a pipeline that failed."""


class ForwardedMeta(Struct, frozen=True, array_like=True):
    """A pipeline's call is done here and goes on: to whom, if that is known already."""

    room: int
    to: str = ""
    """The worker that has it next, the only one whose answer counts. Empty: it waits for one that is free."""


class NotStartedMeta(Struct, frozen=True, array_like=True):
    """The call was not begun."""

    reason: NotStarted


MAX_DETAIL = 1024
"""Bytes of a failure's sentence; the rest is in the worker's log."""


def sentence(text: str) -> str:
    """As much of `text` as a failure may carry, and nothing that could not be encoded."""
    return text[:MAX_DETAIL].encode(errors="backslashreplace")[:MAX_DETAIL].decode(errors="ignore")


_encoder = msgspec.msgpack.Encoder()
encode_meta = _encoder.encode
decode_request = msgspec.msgpack.Decoder(RequestMeta).decode
decode_reply = msgspec.msgpack.Decoder(ReplyMeta).decode
decode_failure = msgspec.msgpack.Decoder(FailureMeta).decode
decode_forwarded = msgspec.msgpack.Decoder(ForwardedMeta).decode
decode_not_started = msgspec.msgpack.Decoder(NotStartedMeta).decode

ERROR_OF: dict[NotStarted, type[IpcError]] = {
    NotStarted.EXPIRED: Expired,
    NotStarted.CANCELLED: Cancelled,
    NotStarted.DRAINING: Draining,
    NotStarted.UNKNOWN_NODE: NoSuchNode,
}
"""What the asking side raises; BUSY and NOT_YET are not here, because such a call waits for another place or time."""
