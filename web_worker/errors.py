"""Errors of the inside as answers of the outside: the one place that knows both."""

from __future__ import annotations

from http import HTTPStatus
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
    OutcomeUnknown,
    Rejected,
    TooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS: Mapping[type[IpcError], int] = {
    Rejected: HTTPStatus.SERVICE_UNAVAILABLE,  # nothing was done; Retry-After says when to come again
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    OutcomeUnknown: HTTPStatus.GATEWAY_TIMEOUT,
    LinkLost: HTTPStatus.BAD_GATEWAY,
    CallFailed: HTTPStatus.BAD_GATEWAY,
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    NodeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    BadResult: HTTPStatus.INTERNAL_SERVER_ERROR,
    Cancelled: 499,  # nobody reads it; the log does
    BadMessage: HTTPStatus.BAD_GATEWAY,
    Misuse: HTTPStatus.INTERNAL_SERVER_ERROR,
}
RETRY_AFTER = 1
"""What a refused client is told to wait, seconds."""
FAULTS = 500
"""Statuses from here on are ours to explain: the client is told a general sentence, the log the rest."""

_SENTENCE: Mapping[type[IpcError], str] = {
    NodeError: "The service failed to handle this request.",
    BadResult: "The service failed to handle this request.",
    Misuse: "The service is not set up correctly.",
    LinkLost: "The process that worked on this request ended; it may or may not have been done.",
}


def status_of(error: IpcError) -> int:
    """The status of the nearest class that has one."""
    return int(next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS))


def sentence_of(error: IpcError) -> str:
    """What the client may know of it: never a traceback, a path or a worker's name."""
    for kind in type(error).__mro__:
        if kind in _SENTENCE:
            return _SENTENCE[kind]
    return str(error) or type(error).__name__


def is_retryable(error: IpcError) -> bool:
    """Whether the same request may be sent again without a thought."""
    return isinstance(error, Rejected) and not isinstance(error, TooLarge)
