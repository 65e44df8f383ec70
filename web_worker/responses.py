"""Answers as they go out: the one shape of an error, and the headers every answer has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from web_worker.errors import RETRY_AFTER, is_retryable, sentence_of, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from ipc.errors import IpcError

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
_encode = msgspec.json.encode
JSON = b"application/json"
NO_BODY = frozenset({204, 205, 304})


class Problem(msgspec.Struct, frozen=True):
    """What every error looks like to a client."""

    detail: Any
    status_code: int
    code: str
    request_id: str


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["detail", "status_code", "code", "request_id"],
    "properties": {
        "detail": {"description": "What is wrong, for a person."},
        "status_code": {"type": "integer"},
        "code": {"type": "string", "description": "What is wrong, for a program; it does not change between versions."},
        "request_id": {"type": "string", "description": "What to look for in logs and traces."},
    },
}


async def answer(
    send: Send, status: int, media_type: bytes, body: bytes | memoryview, request_id: str, extra: Headers | None = None
) -> None:
    """Send a whole answer."""
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
    send: Send, status: int, code: str, detail: object, request_id: str, extra: Headers | None = None
) -> None:
    """Send an error."""
    await answer(send, status, JSON, _encode(Problem(detail, status, code, request_id)), request_id, extra)


async def failure(send: Send, error: IpcError, request_id: str) -> int:
    """Send what an error of the inside is to the outside; returns the status."""
    status = status_of(error)
    extra = [(b"retry-after", b"%d" % RETRY_AFTER)] if is_retryable(error) else []
    if status == 413:  # noqa: PLR2004 - the rest of its body is not read, so the connection cannot be used again
        extra.append((b"connection", b"close"))
    await problem(send, status, error.code, sentence_of(error), request_id, extra)
    return status
