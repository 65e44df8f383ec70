"""One HTTP connection: uvicorn's, with bounds on what a client may send before any application sees it."""

from __future__ import annotations

import fcntl
import os
import termios
from typing import TYPE_CHECKING, Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ipc.wire.frame import LARGE
from web_worker.correlation import correlate
from web_worker.responses import Problem, problem

if TYPE_CHECKING:
    import asyncio

    from web_worker.responses import Receive, Scope, Send

MAX_HEAD = 65_536
"""Request line and headers of one request, bytes."""
MAX_URL = 16_384
MAX_HEADERS = 128
HEAD_TIME = 30.0
"""How long a client may take to send a request's head, or its first byte, seconds."""
QUIET = 1.0
"""How long a client must have been silent before a worker that leaves hangs up on it, seconds: one that has just had
an answer may be sending its next request, which would be lost. That request's answer says `Connection: close`."""
_TOO_LARGE = 431
_MAX_KEPT = 65_536
_END_OF_HEAD = b"\r\n\r\n"
_BAD = 400


async def _refuse(scope: Scope, _receive: Receive, send: Send) -> None:
    request_id = correlate(scope["headers"]).request_id
    await problem(send, _TOO_LARGE, "head_too_large", "The request's URL or headers are too large.", request_id)


class Joining:
    """A transport that sends the head of an answer together with what follows it: one packet instead of two.

    uvicorn writes them one after the other. A head that nothing follows in the same turn of the loop goes alone.
    """

    __slots__ = ("_head", "_loop", "_transport", "is_closing", "write_now")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self.is_closing, self.write_now = transport.is_closing, transport.write
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send, or keep for a moment."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) >= LARGE:
                self._transport.writelines((head, data))  # together, without being joined
                return
            data = head + data
        elif data[-4:] == _END_OF_HEAD and len(data) < _MAX_KEPT:
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self.write_now(data)

    def close(self) -> None:
        """Send what there is and hang up."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            self.write_now(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the transport's own
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """Refuses heads that are too large or too slow, and answers what is no HTTP in the shape of all errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._before = self._now = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected."""
        super().connection_made(cast("asyncio.Transport", Joining(transport, self.loop)))
        self.timeout_keep_alive_task = self.loop.call_later(HEAD_TIME, self.timeout_keep_alive_handler)
        self._idle_since = self.loop.time()

    def shutdown(self) -> None:
        """This worker leaves. Hang up if the client is quiet, else after the next answer; to be called until it is.

        A head that has begun has `HEAD_TIME` to become whole, as ever.
        """
        self._leaving = True
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self._in_head and self.loop.time() - self._idle_since >= self._quiet and not self._unread():
            self.transport.close()

    @property
    def _quiet(self) -> float:
        """How long a client must have been silent; a worker that is replaced gives it all the time it has anyway."""
        return float(getattr(self.server_state, "quiet", QUIET))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or this worker, has hung up."""
        self._unset_keepalive_if_required()
        self._stop_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """An answer is out. The time of an idle connection is noted, not timed: a timer a request is dear."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_if_idle)

    def _look_if_idle(self) -> None:
        self._idle_timer = None
        if self.transport.is_closing() or self.cycle is None or not self.cycle.response_complete:
            return  # the next answer looks after it
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._look_if_idle)
        elif not self._in_head and not self._unread():
            self.timeout_keep_alive_handler()

    def _unread(self) -> bool:
        """Whether the client has sent what the loop has not seen yet."""
        waiting = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return waiting != bytes(4)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._before = 0
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """Bytes have come in; those of an unfinished head are counted."""
        self._now = len(data)
        if self._leaving:
            self._idle_since = self.loop.time()
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._before += len(data)
        if self._before > MAX_HEAD:
            self._hang_up(_TOO_LARGE, "head_too_large", "The request's URL or headers are too large.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIME, self.transport.close)

    def on_headers_complete(self) -> None:
        """The head is whole: the app, or a refusal, is started."""
        self._in_head = False
        self._stop_timer()
        if self._fits():
            super().on_headers_complete()
        else:
            app, self.app = self.app, _refuse
            try:
                super().on_headers_complete()
            finally:
                self.app = app
        if self._leaving:
            self.shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up."""
        self._hang_up(_BAD, "bad_request", msg)

    def _fits(self) -> bool:
        if len(self.headers) > MAX_HEADERS or len(self.url) > MAX_URL:
            return False
        if self._before + self._now <= MAX_HEAD:  # what was received is not less than the head in it
            return True
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) <= MAX_HEAD

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _hang_up(self, status: int, code: str, detail: str) -> None:
        request_id = os.urandom(16).hex()
        body = msgspec.json.encode(Problem(detail, status, code, request_id))
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode("ascii") + body)
        self.transport.close()
