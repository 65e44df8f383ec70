"""One declared endpoint over HTTP: read the request, hand it off, write the answer. Served without FastAPI's machinery.

The body is checked against the contract and forwarded as it came; the reply's bytes go out as they came. Everything
that can be known at start is worked out at start.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ipc.errors import Cancelled, InvalidRequest, IpcError, TooLarge
from ipc.messages.calls import Encoding, RequestMeta, encode_meta
from ipc.shape import rebuild
from web_worker.correlation import Correlation, correlate
from web_worker.endpoints.parameters import Parameters
from web_worker.errors import FAULTS
from web_worker.responses import answer, failure, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipc.caller import Answer, Call, Caller
    from ipc.contract import NodeContract
    from ipc.log import Log
    from ipc.messages.lifeline import EndpointSettings
    from web_worker.responses import Headers, Receive, Scope, Send

_NO_PARAMETERS = msgspec.Raw(b"\x80")
_SWALLOWED = frozenset({"content-type", "content-length", "connection", "transfer-encoding", "keep-alive", "upgrade"})
"""Headers that belong to the connection or are made here, whatever an exec worker says."""
_MAX_STATUS = 599


class Shared(NamedTuple):
    """What all endpoints of a web worker have in common."""

    caller: Caller
    log: Log
    max_body: int
    verbose: bool
    """Whether every boundary event is logged, not only those that matter to an operator."""


class HttpEndpoint:
    """Binds the ports `request` and `response` of one node to a path."""

    def __init__(self, settings: EndpointSettings, contract: NodeContract, shared: Shared) -> None:
        self.settings = settings
        self.contract = contract
        self._shared = shared
        self._caller = shared.caller
        self._node, self._timeout, self._status = settings.node, settings.timeout, settings.status
        self._reply_to = str(shared.caller.me)
        self._parameters = Parameters(contract.parameters) if contract.parameters else None
        body = contract.body
        self._wants_body = body is not None
        self._body_required = body is not None and body.required
        self._is_json = body is not None and body.kind == "json"
        self._encoding = Encoding.NONE if body is None else Encoding.JSON if self._is_json else Encoding.RAW
        self._check: Callable[[bytes], object] | None = None
        if body is not None and self._is_json and body.shape is not None:
            self._check = msgspec.json.Decoder(rebuild(body.shape)).decode
        self._watchers: set[asyncio.Task[None]] = set()

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path_values: Mapping[str, str] | None = None
    ) -> None:
        """Serve one request."""
        who = correlate(scope["headers"])
        shared = self._shared
        if shared.verbose:
            shared.log.debug("ingress_accepted", **self._about(scope, who))
        call: Call | None = None
        try:
            body = await self._read(receive, who) if self._wants_body else b""
            packed = self._parameters.pack(scope["query_string"], path_values) if self._parameters else b""
            meta = RequestMeta(
                self._node,
                who.request_id,
                who.trace,
                self._reply_to,
                self._encoding if body or self._body_required else Encoding.NONE,
                Encoding.JSON,
                msgspec.Raw(packed) if packed else _NO_PARAMETERS,
            )
            call = self._caller.call(
                self._node, who.call_id, encode_meta(meta), body, self._timeout, partial(self._watch, receive)
            )
            if shared.verbose:
                shared.log.debug("handed_off", node=self._node, request_id=who.request_id)
            await self._deliver(scope, send, who, await call.future)
        except Cancelled:
            shared.log.info("abandoned", **self._about(scope, who))
        except IpcError as error:
            status = await failure(send, error, who.request_id)
            if status >= FAULTS:
                event = "egress_failed" if call is not None else "ingress_rejected"
                about = self._about(scope, who)
                shared.log.warning(event, status=status, code=error.code, detail=str(error), **about)
            elif shared.log.requests:
                shared.log.info("ingress_rejected", status=status, code=error.code, **self._about(scope, who))
        except asyncio.CancelledError:
            if call is not None:
                self._caller.cancel(call)
            raise
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            shared.log.error("egress_failed", error, **self._about(scope, who))
            await problem(send, 500, "internal", "The service failed to handle this request.", who.request_id)

    async def _read(self, receive: Receive, who: Correlation) -> bytes:
        """The whole body, never more than is allowed."""
        most = self._shared.max_body
        if who.content_length > most:
            raise TooLarge(f"the body has {who.content_length} bytes; at most {most} are allowed")
        if self._is_json and who.content_type and not _says_json(who.content_type):
            said = who.content_type.decode("latin-1")[:100]
            raise InvalidRequest(f"this endpoint takes application/json, not {said!r}")
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            body = await _gather(receive, body, most)
        if len(body) > most:
            raise TooLarge(f"the body has more than {most} bytes")
        if self._check is not None and (body or self._body_required):
            try:
                self._check(body)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise InvalidRequest(str(error)) from None
        return body

    async def _deliver(self, scope: Scope, send: Send, who: Correlation, reply: Answer) -> None:
        meta = reply.meta
        status = meta.status or self._status
        if status > _MAX_STATUS:
            status = 502
        extra: Headers | None = None
        if meta.headers:
            extra = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in meta.headers
                if name.lower() not in _SWALLOWED
            ]
        media_type = meta.media_type.encode("latin-1") if meta.media_type else b"application/json"
        await answer(send, status, media_type, reply.body, who.request_id, extra)
        if self._shared.log.requests:
            about = self._about(scope, who)
            self._shared.log.info(
                "delivered", status=status, waited_ms=meta.waited_us / 1000, ran_ms=meta.ran_us / 1000, **about
            )

    def _about(self, scope: Scope, who: Correlation) -> dict[str, object]:
        """What a log line says of a request: no query, no header, no body."""
        return {
            "method": scope["method"],
            "path": scope["path"],
            "node": self._node,
            "request_id": who.request_id,
            "trace": who.trace,
        }

    def _watch(self, receive: Receive, call: Call) -> None:
        """The call takes its time: see whether the client still waits for it."""
        task = asyncio.get_running_loop().create_task(self._until_gone(receive, call))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _until_gone(self, receive: Receive, call: Call) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._caller.cancel(call)


def _says_json(content_type: bytes) -> bool:
    media = content_type.partition(b";")[0].strip().lower()
    return media == b"application/json" or media.endswith(b"+json")


async def _gather(receive: Receive, first: bytes, most: int) -> bytes:
    """The rest of a body that comes in pieces, into one buffer."""
    buffer = bytearray(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the client went away while it was sending")
        buffer += message.get("body", b"")
        if len(buffer) > most:
            raise TooLarge(f"the body has more than {most} bytes")
        more = message.get("more_body", False)
    return bytes(buffer)
