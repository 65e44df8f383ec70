"""One declared endpoint over HTTP: read the request, hand it off, write the answer. Served without FastAPI's machinery.

The body is weighed, checked against the contract and forwarded as it came; the reply's bytes go out as they came. How
deep it is and whether a key stands twice, the exec worker sees. What can be known at start is worked out at start.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ipc.decoding.jsontext import weigh_json
from ipc.decoding.limits import UNREADABLE, told
from ipc.errors import BadMessage, Busy, Cancelled, Draining, InvalidRequest, IpcError, OutcomeUnknown, TooLarge
from ipc.messages.calls import Encoding, RequestMeta, encode_meta
from ipc.priority import RANK
from ipc.shape import rebuild
from web_worker.correlation import Correlation, correlate
from web_worker.endpoints.parameters import Parameters
from web_worker.errors import CODES, FAILED, UnsupportedMediaType, status_of
from web_worker.patience import HEADER, beyond_ms, shortened
from web_worker.responses import JSON, answer, failure, media_type_of, problem, sendable
from web_worker.whole import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipc.call import Answer, Call
    from ipc.caller import Caller
    from ipc.contract import NodeContract
    from ipc.messages.settings import EndpointSettings
    from web_worker.endpoints.row import Row
    from web_worker.events import Events
    from web_worker.responses import Receive, Scope, Send

_NO_PARAMETERS = msgspec.Raw(b"\x80")
_MIN_STATUS, _MAX_STATUS = 200, 599
_FAULT = 500
_WHOLE = {"type": "http.request"}


class Shared(NamedTuple):
    """What all endpoints of a web worker have in common."""

    caller: Caller
    events: Events
    max_body: int
    timeout_header: bytes = HEADER


class HttpEndpoint:
    """Binds the ports `request` and `response` of one node to a path."""

    def __init__(
        self,
        settings: EndpointSettings,
        contract: NodeContract,
        shared: Shared,
        *,
        plain: bool,
        row: Row | None = None,
    ) -> None:
        """`plain` has bodies sent as `bytes` only, for a user's middleware may look at them. `row` is a pipeline's."""
        self.contract = contract
        self.node = " > ".join(settings.pipeline or (settings.node,))
        """As logs name it."""
        self._first, self._row, self._way = settings.node, row, row.way if row is not None else ()
        self.events = shared.events
        self._max_body = shared.max_body
        self._plain = plain
        self._caller = shared.caller
        self._timeout, self._status = settings.timeout, settings.status
        self._timeout_header = shared.timeout_header
        self._priority = RANK[settings.priority]
        self._ask = shared.caller.call if not settings.max_concurrency else self._ask_if_few
        self._max_concurrency = settings.max_concurrency
        self._under_way = 0  # counted only where there is a limit
        self._reply_to = str(shared.caller.me)
        parameters = contract.parameters if row is None else row.first.parameters
        self._parameters = Parameters(parameters) if parameters else None
        self._media_type = contract.result.media_type
        self._media_type_bytes = media_type_of(contract.result.media_type)
        body = contract.body
        self._wants_body = body is not None
        self._body_name = body.name if body is not None else ""
        self._body_required = body is not None and body.required
        self._is_json = body is not None and body.kind == "json"
        self._encoding = Encoding.NONE if body is None else Encoding.JSON if self._is_json else Encoding.RAW
        self._check: Callable[[bytes], object] | None = None
        if body is not None and self._is_json and body.shape is not None:
            self._check = msgspec.json.Decoder(rebuild(body.shape)).decode

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        path_values: Mapping[str, str] | None = None,
        who: Correlation | None = None,
    ) -> None:
        """Serve one request."""
        if who is None:
            who = correlate(scope["headers"], self._timeout_header)
        events = self.events
        if events.verbose:
            events.accepted(scope, who, self.node)
        call: Call | None = None
        try:
            body = await self._read(receive, who) if self._wants_body else b""
            packed = self._parameters.pack(scope["query_string"], path_values) if self._parameters else b""
            row, timeout, beyond = self._row, self._timeout, 0
            if who.timeout:
                timeout = shortened(timeout, who.timeout, self._timeout_header)
                beyond = beyond_ms(self._timeout, timeout)
            meta = RequestMeta(
                self._first,
                who.request_id,
                who.trace,
                self._reply_to,
                self._encoding if body or self._body_required else Encoding.NONE,
                Encoding.JSON,
                msgspec.Raw(packed) if packed else _NO_PARAMETERS,
                row.pack(packed, scope["query_string"], path_values) if row is not None else (),
                beyond,
            )
            watch = partial(self._watch, receive)
            call = self._ask(
                self._first, who.call_id, encode_meta(meta), body, timeout, watch, self._priority, self._way
            )
            if events.verbose:
                events.handed_off(scope, who, self.node)
            await self._deliver(scope, send, who, await call.future)
        except IpcError as error:
            events.refused(scope, who, self.node, status_of(error), error, begun=call is not None)
            await failure(send, error, who.request_id)  # to a client that went away it is no more than words
        except asyncio.CancelledError:
            # The server ends what takes too long while it drains. The client is told so, if it was told nothing yet.
            if call is not None:
                self._caller.cancel(call)
            with suppress(Exception):
                await failure(send, OutcomeUnknown() if call is not None else Draining(), who.request_id)
            raise
        except OSError:  # a server's way to say that the client is gone
            events.abandoned(scope, who, self.node)
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            events.crashed(scope, who, self.node, error)
            await problem(send, _FAULT, CODES[_FAULT], FAILED, who.request_id)

    def _ask_if_few(self, *asked: Any) -> Call:  # noqa: ANN401 - what the caller takes
        """Call the node, unless as many calls are under way as there may be."""
        if self._under_way >= self._max_concurrency:
            raise Busy(f"{self._under_way} calls of this endpoint are under way, and no more are allowed")
        call = self._caller.call(*asked)
        self._under_way += 1
        # Who leaves makes no room: his call runs on until its worker has given it up.
        call.future.add_done_callback(lambda _: self._caller.when_gone(call, self._one_less))
        return call

    def _one_less(self) -> None:
        self._under_way -= 1

    async def _read(self, receive: Receive, who: Correlation) -> bytes:
        """The whole body, never more than is allowed."""
        most = self._max_body
        if who.content_length > most:
            raise TooLarge(f"the body has {who.content_length} bytes; at most {most} are allowed")
        unfit = self._is_json and who.content_type != JSON and not _says_json(who.content_type)
        if unfit and who.content_length > 0:
            raise _unsupported(who.content_type)
        body = body_of(receive)
        message: Mapping[str, Any] = _WHOLE
        if body is None:
            message = await receive()
            body = message.get("body", b"")
        if len(body) > most:
            raise TooLarge(f"the body has more than {most} bytes")
        if message.get("more_body", False):
            body = await _gather(receive, body, most)
        if not body:
            self._look_at_nothing(message)
            return body
        if unfit:
            raise _unsupported(who.content_type)
        if self._check is not None:
            try:
                weigh_json(body)
                self._check(body)
            except UNREADABLE as error:
                raise InvalidRequest(told(error)) from None
        return body

    def _look_at_nothing(self, message: Mapping[str, object]) -> None:
        """No body: has the client left, or was one due? Of bytes none at all may be what is meant."""
        if message["type"] == "http.disconnect":
            raise Cancelled("the client went away while it was sending")
        if self._is_json and self._body_required:
            raise InvalidRequest(f"The request has no body, and `{self._body_name}` is required")

    async def _deliver(self, scope: Scope, send: Send, who: Correlation, reply: Answer) -> None:
        meta = reply.meta
        status = meta.status or self._status
        if not _MIN_STATUS <= status <= _MAX_STATUS:
            raise BadMessage(f"the answer has the status {status}")
        media_type = self._media_type_bytes
        if meta.media_type and meta.media_type != self._media_type:
            media_type = media_type_of(meta.media_type)
        extra = sendable(meta.headers) if meta.headers else None
        body = bytes(reply.body) if self._plain else reply.body
        await answer(send, status, media_type, body, who.request_id, extra)
        if self.events.each:
            self.events.delivered(
                scope, who, self.node, status, waited_ms=meta.waited_us / 1000, ran_ms=meta.ran_us / 1000
            )

    def _watch(self, receive: Receive, call: Call) -> None:
        """The call takes its time: see whether the client still waits for it, until it is over."""
        task = asyncio.get_running_loop().create_task(self._until_gone(receive, call))
        call.future.add_done_callback(lambda _: task.cancel())

    async def _until_gone(self, receive: Receive, call: Call) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._caller.cancel(call)


def _says_json(content_type: bytes) -> bool:
    media = content_type.partition(b";")[0].strip().lower()
    return media == JSON or media.endswith(b"+json")


def _unsupported(content_type: bytes) -> UnsupportedMediaType:
    said = repr(content_type.decode("latin-1")[:100]) if content_type else "a body without a content-type"
    return UnsupportedMediaType(f"this endpoint takes application/json, not {said}")


async def _gather(receive: Receive, first: bytes, most: int) -> bytes:
    """The whole of a body that comes in pieces, joined once."""
    pieces, size, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the client went away while it was sending")
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooLarge(f"the body has more than {most} bytes")
        more = message.get("more_body", False)
    return b"".join(pieces)
