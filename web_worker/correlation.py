"""Who a request is: its id, its trace, and the few headers that decide what becomes of it. One pass over them all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ipc.names import new_call_id
from web_worker.patience import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00."""
_DIGITS = 18
"""Of a Content-Length; a longer one is no length, and Python would refuse to read the very long."""


class Correlation(NamedTuple):
    """One request, before its body is read."""

    call_id: bytes
    request_id: str
    trace: str
    """A traceparent: the client's, or a fresh one that is not sampled."""
    content_type: bytes
    content_length: int
    """-1 if it is not said."""
    timeout: bytes = b""
    """What the client says of the time it has, unread; empty if it says nothing."""


def correlate(headers: Iterable[tuple[bytes, bytes]], timeout_header: bytes = HEADER) -> Correlation:
    """Read what the client said of itself, and make what it did not say.

    Where both are made here, the request id and the trace id are the call's id, so that there is one thing to look for.
    A request id that does not fit is replaced, not refused: it is the client's habit, not its request.
    """
    call_id = new_call_id()
    made = call_id.hex()
    request_id, trace, content_length = "", "", -1
    given = dict(headers).get  # one pass in C; of headers that come twice the last counts
    content_type = given(b"content-type", b"")
    if (value := given(b"content-length")) is not None and value.isdigit() and len(value) <= _DIGITS:
        content_length = int(value)
    if (value := given(b"x-request-id")) is not None and _REQUEST_ID.fullmatch(value):
        request_id = value.decode("ascii")
    if (value := given(b"traceparent")) is not None and _TRACEPARENT.fullmatch(value):
        trace = value.decode("ascii")
    if not trace:
        trace = f"00-{made}-{made[:16]}-00"
    return Correlation(call_id, request_id or made, trace, content_type, content_length, given(timeout_header, b""))
