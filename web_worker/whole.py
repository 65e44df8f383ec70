"""A whole answer in one write, where the server is uvicorn's: saying it in two steps is a third of what it costs.

Its own `send` joins, checks and writes the head, then the body. Here both are known and checked, so they go out as
one piece and the request is marked as answered just as `send` would. Whatever is unusual takes the ordinary way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from web_worker.responses import Receive, Send

_LARGE = 65_536
"""Bodies from here on are written by themselves, not copied behind the head."""
_CLOSE = b"connection: close\r\n"

_NEEDED = {
    "access_log",
    "body",
    "default_headers",
    "disconnected",
    "flow",
    "keep_alive",
    "message_event",
    "more_body",
    "on_response",
    "response_complete",
    "response_started",
    "scope",
    "transport",
    "waiting_for_100_continue",
}


def cycle_of(send: Send) -> Any:  # noqa: ANN401 - uvicorn's, which is not public
    """The request of uvicorn behind `send`, if it can be answered in one write; else None."""
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.response_started or cycle.access_log:
        return None
    if cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
        return None
    return cycle


def write(cycle: Any, status: int, head: bytes, body: bytes | memoryview) -> None:  # noqa: ANN401 - as above
    """Answer: `head` is all header lines but the server's own, each with its end of line."""
    if cycle.disconnected:
        return
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(head)
    if not cycle.keep_alive:
        parts.append(_CLOSE)
    parts.append(b"\r\n")
    transport = cycle.transport
    if len(body) < _LARGE:
        parts.append(bytes(body))
        getattr(transport, "write_now", transport.write)(b"".join(parts))
    else:
        transport.write(b"".join(parts))
        transport.write(body)
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        transport.close()
    cycle.on_response()


def body_of(receive: Receive) -> bytes | None:
    """The whole body, if uvicorn has it already; None: it is to be received in the ordinary way."""
    cycle = getattr(receive, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.more_body or cycle.disconnected or cycle.response_complete:
        return None
    body, cycle.body = bytes(cycle.body), bytearray()
    return body


def fits() -> bool:
    """Whether this uvicorn's requests are what this module takes them for: a test asks."""
    code = RequestResponseCycle.__init__.__code__
    return set(code.co_names) >= _NEEDED and 200 in STATUS_LINE  # noqa: PLR2004 - any status would do
