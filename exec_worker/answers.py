"""What an exec worker says of a call: the result, why there is none, or that it was not begun. From any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.link import Link
from ipc.messages.calls import FailureMeta, Kind, NotStarted, NotStartedMeta, ReplyMeta, encode_meta, sentence
from ipc.wire.frame import MAX_META, Refuse

if TYPE_CHECKING:
    from exec_worker.asked import AskedCall
    from exec_worker.batches import Outcome
    from exec_worker.binding import Encoded
    from exec_worker.engine import Engine, Failure

# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REPLY, _FAILURE, _NOT_STARTED = int(Kind.REPLY), int(Kind.FAILURE), int(Kind.NOT_STARTED)
_READY = int(Kind.READY)


def reply(
    link: Link, engine: Engine, call: AskedCall, result: Encoded, room: int, times: tuple[int, int], flags: int
) -> None:
    """The result; or, if no envelope can carry it, that it is too large."""
    meta = encode_meta(ReplyMeta(room, *times, result.encoding, result.status, result.media_type, result.headers))
    try:
        link.send(_REPLY, call.id, meta, memoryview(result.body), flags)
    except Refuse:
        what = f"{len(result.body)} bytes; max_payload_bytes is {link.max_payload}"
        if len(meta) > MAX_META:
            what = f"{len(meta)} bytes of headers; at most {MAX_META} are carried"
        fail(link, call.id, engine.explain_too_large(call, what), room, flags)


def place_free(link: Link, call_id: bytes, room: int, flags: int) -> None:
    """That it is over, to a worker that sent it on: what came of it goes to its origin."""
    link.send(_REPLY, call_id, encode_meta(ReplyMeta(room, 0, 0)), b"", flags)


def fail(link: Link, call_id: bytes, failure: Failure, room: int, flags: int) -> None:
    """Why there is no result."""
    meta = FailureMeta(room, failure.code, sentence(failure.detail), failure.stage)
    link.send(_FAILURE, call_id, encode_meta(meta), b"", flags)


def not_begun(call: AskedCall) -> NotStarted:
    """Why a lane that came to it did not begin it."""
    return NotStarted.CANCELLED if call.seen.cancelled else NotStarted.EXPIRED


def not_started(link: Link, call_id: bytes, reason: NotStarted) -> None:
    """Why it was not begun."""
    link.send(_NOT_STARTED, call_id, encode_meta(NotStartedMeta(reason)))


def tell_others(outcome: Outcome[AskedCall], *, told: bool = False) -> None:
    """Tell those that are too late, and who is next unless that was `told`.

    Before any answer: until the next call is here its lane has nothing to do.
    """
    for late in outcome.expired:
        not_started(late.client, late.id, NotStarted.EXPIRED)
    if not told:
        tell_ready(outcome.offer)


def tell_ready(client: object | None) -> None:
    """That there is room for one, if anybody is to be told."""
    if isinstance(client, Link):
        client.send(_READY)
