"""Errors of the inside as answers of the outside: the one place that knows both."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

from ipc.errors import (
    BadMessage,
    BadResult,
    CallFailed,
    Cancelled,
    InvalidRequest,
    IpcError,
    LinkLost,
    Misuse,
    NodeError,
    NoWorker,
    OutcomeUnknown,
    Quarantined,
    Rejected,
    TooLarge,
    WorkerDied,
    WorkerGone,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnsupportedMediaType(InvalidRequest):
    """The body is of a kind that the endpoint does not take."""

    code = "unsupported_media_type"


STATUS: Mapping[type[IpcError], int] = {
    Rejected: HTTPStatus.SERVICE_UNAVAILABLE,  # nothing was done; Retry-After says when to come again
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Quarantined: HTTPStatus.INTERNAL_SERVER_ERROR,
    OutcomeUnknown: HTTPStatus.GATEWAY_TIMEOUT,
    WorkerDied: HTTPStatus.BAD_GATEWAY,
    LinkLost: HTTPStatus.BAD_GATEWAY,
    CallFailed: HTTPStatus.BAD_GATEWAY,
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    NodeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    BadResult: HTTPStatus.INTERNAL_SERVER_ERROR,
    Cancelled: 499,  # nobody reads it; the log does
    BadMessage: HTTPStatus.BAD_GATEWAY,
    Misuse: HTTPStatus.INTERNAL_SERVER_ERROR,
}
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1, 60
"""What a refused client is told to wait, seconds: as long as those in front of it will take, within these bounds."""
FAULTS = 500
"""Statuses from here on are ours to explain: the client is told a general sentence, the log the rest."""
FAILED = "The service failed to handle this request."
"""What a client is told of a fault of ours."""

_OWN_WORDS = frozenset({InvalidRequest, TooLarge})
"""What these say is about the request itself, so the client may read it."""
_SENTENCE: Mapping[type[IpcError], str] = {
    Rejected: "The service is too busy; nothing was done. Try again later.",
    NoWorker: "No worker is up for this; nothing was done. Try again later.",
    WorkerGone: "The process that was to work on this request ended before it began; nothing was done. Try again.",
    Quarantined: "Requests like this one have crashed the process that worked on them; nothing was done.",
    OutcomeUnknown: "There was no answer in time; it may or may not have been done.",
    WorkerDied: "The process that worked on this request ended; some of it may have been done.",
    LinkLost: "The process that worked on this request ended; it may or may not have been done.",
    Misuse: "The service is not set up correctly.",
    Cancelled: "The client went away.",
    IpcError: FAILED,
}

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: TooLarge.code,
    415: UnsupportedMediaType.code,
    422: InvalidRequest.code,
    429: "too_many_requests",
    500: "internal",
}
"""The codes of what an application refuses by status alone; any other status is `http_` and its number."""


def status_of(error: IpcError) -> int:
    """The status of the nearest class that has one."""
    return int(next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS))


def sentence_of(error: IpcError) -> str:
    """What the client may know of it: never a traceback, a path or a worker's name."""
    for kind in type(error).__mro__:
        if kind in _OWN_WORDS and (words := str(error)):
            return words
        if kind in _SENTENCE:
            return _SENTENCE[kind]
    return FAILED


def retry_after_of(error: IpcError) -> int | None:
    """How long the client should wait before it asks again, seconds; None if asking again is not for it to decide."""
    if not isinstance(error, Rejected) or not is_retryable(error):
        return None
    return max(MIN_RETRY_AFTER, ceil(min(error.retry_after, MAX_RETRY_AFTER)))


def is_retryable(error: IpcError) -> bool:
    """Whether the same request may be sent again without a thought."""
    return isinstance(error, Rejected) and not isinstance(error, TooLarge | Quarantined)
