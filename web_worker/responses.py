"""Answers as they go out: the one shape of an error, and the headers every answer has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from ipc.errors import BadMessage
from web_worker.errors import retry_after_of, sentence_of, status_of
from web_worker.whole import cycle_of, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from ipc.errors import IpcError

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
_HEAD = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
_encode = msgspec.json.encode
JSON = b"application/json"
NO_BODY = frozenset({204, 205, 304})
UNREAD = frozenset({413, 415, 431})
"""Answers to requests whose body is not read, so that their connection cannot be used again."""
CLOSE = (b"connection", b"close")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXT = re.compile(r"[\t -~\x80-\xff]*")
_OURS = frozenset(
    {
        *("content-type", "content-length", "x-request-id"),
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that belong to the connection or are made here, whatever an exec worker says."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every error looks like to a client."""

    detail: Any
    status_code: int
    code: str
    request_id: str
    stage: str = ""
    """The node of a pipeline at which it ended."""


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["detail", "status_code", "code", "request_id"],
    "properties": {
        "detail": {"description": "What is wrong, for a person."},
        "status_code": {"type": "integer"},
        "code": {"type": "string", "description": "What is wrong, for a program; it does not change between versions."},
        "request_id": {"type": "string", "description": "What to look for in logs and traces."},
        "stage": {"type": "string", "description": "Of a pipeline, the stage at which it ended."},
    },
}


async def answer(
    send: Send, status: int, media_type: bytes, body: bytes | memoryview, request_id: str, extra: Headers | None = None
) -> None:
    """Send a whole answer."""
    if not extra and status not in NO_BODY and (cycle := cycle_of(send)) is not None:
        head = _HEAD % (media_type, len(body), request_id.encode("latin-1"))
        write(cycle, status, head, body)
        return
    headers = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("latin-1")),
    ]
    if status in NO_BODY:
        del headers[:2]
        body = b""
    if extra:
        headers += extra
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def problem(
    send: Send,
    status: int,
    code: str,
    detail: object,
    request_id: str,
    extra: Headers | None = None,
    stage: str = "",
) -> None:
    """Send an error."""
    if status in UNREAD:
        extra = [*(extra or ()), CLOSE]
    await answer(send, status, JSON, _encode(Problem(detail, status, code, request_id, stage)), request_id, extra)


async def failure(send: Send, error: IpcError, request_id: str) -> int:
    """Send what an error of the inside is to the outside; returns the status."""
    status = status_of(error)
    wait = retry_after_of(error)
    extra = None if wait is None else [(b"retry-after", b"%d" % wait)]
    await problem(send, status, error.code, sentence_of(error), request_id, extra, error.stage)
    return status


def sendable(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers that an exec worker wants to send, without those that are not its to say.

    BadMessage for one that could end its line and begin another.
    """
    kept: Headers = []
    for name, value in headers:
        if _TOKEN.fullmatch(name) is None or _TEXT.fullmatch(value) is None:
            raise BadMessage("the answer has a header that cannot be sent")
        if (lower := name.lower()) not in _OURS:
            kept.append((lower.encode("ascii"), value.encode("latin-1")))
    return kept


def media_type_of(text: str) -> bytes:
    """A media type that an exec worker named; BadMessage if it cannot stand in a header."""
    if _TEXT.fullmatch(text) is None:
        raise BadMessage("the answer has a media type that cannot be sent")
    return text.encode("latin-1")
