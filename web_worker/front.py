"""The first to see a request: declared endpoints and health by their paths, everything else for the FastAPI app."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from ipc.clock import now
from ipc.errors import OutcomeUnknown
from ipc.sight import Sight
from web_worker.correlation import correlate
from web_worker.errors import CODES, FAILED
from web_worker.inside import Inbox, Inside, enter
from web_worker.responses import failure, problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ipc.scoreboard import Scoreboard
    from ipc.sight import Lookout
    from web_worker.correlation import Correlation
    from web_worker.events import Events
    from web_worker.handoff import Handoffs
    from web_worker.responses import Message, Receive, Scope, Send
    from web_worker.routing import Table

    App = Callable[[Scope, Receive, Send], Awaitable[None]]

WEB = "web"
"""Under which name requests are told of: the group's that speaks HTTP."""
_FAULT = 500


class Endpoint(Protocol):
    """What a path and a method are bound to."""

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path_values: Mapping[str, str] | None = None, /
    ) -> None:
        """Serve one request."""
        ...


class Front:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: App,
        table: Table[Endpoint],
        handoffs: Handoffs,
        events: Events,
        scoreboard: Scoreboard,
        lookout: Lookout,
        root_path: str = "",
    ) -> None:
        """What `lookout` tells of is how long requests take; WebSockets are none."""
        self._sight, self._stir = Sight(WEB), lookout.stir
        lookout.add([self._sight])
        self._app, self._table, self._scoreboard = app, table, scoreboard
        self._handoffs, self._events = handoffs, events
        self._root_path = root_path.rstrip("/")
        self.lifespan_failure = ""
        """Why the app's lifespan did not start, in the app's own words."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request, or the lifespan."""
        if scope["type"] != "http":
            await self._connection(scope, receive, send)
            return
        self._scoreboard.begin()
        began = now()
        try:
            path = scope["path"]
            if self._root_path:
                path = _below(self._root_path, path)
            found = self._table.find(scope["method"], path)
            if found is None:
                await self.through(scope, receive, send)
            elif found.endpoint is None:
                await self.through(scope, receive, send, found.allowed)
            else:
                await found.endpoint(scope, receive, send, found.values)
        finally:
            self._scoreboard.end()
            self._sight.answered(began, began, now())
            self._stir()

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, or the lifespan."""
        if scope["type"] == "websocket":
            enter(scope, Inside(correlate(scope["headers"], self._handoffs.timeout_header), self._handoffs))
            await self._app(scope, receive, send)
            return

        async def listening(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.lifespan_failure = message.get("message", "")
            await send(message)

        await self._app(scope, receive, listening)

    async def through(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        allowed: tuple[str, ...] = (),
        chosen: Any = None,  # noqa: ANN401 - a FastAPI route
        most: int = 0,
    ) -> None:
        """Let the app answer. It gets the request's identity, and its answer carries it.

        `allowed` are methods that declared endpoints take at this path, `chosen` is the route of the one that was
        found, `most` bounds its body.
        """
        who = correlate(scope["headers"], self._handoffs.timeout_header)
        inside = Inside(who, self._handoffs, Inbox(receive, most), chosen)
        enter(scope, inside)
        answer = _Answer(send, who, inside, allowed)
        events = self._events
        if events.verbose and chosen is None:
            events.accepted(scope, who, "")
        try:
            await self._app(scope, inside.inbox.receive if inside.inbox else receive, answer.send)
        except asyncio.CancelledError:
            # The server ends what takes too long while it drains: whether it was done, nobody knows.
            if not answer.status:
                with suppress(Exception):
                    await failure(answer.send, OutcomeUnknown(), who.request_id)
            raise
        except Exception as error:
            if not inside.told:
                events.crashed(scope, who, "", error)
            if answer.status and not answer.whole:
                raise  # the server has to break the connection off
            if not answer.status:
                await problem(send, _FAULT, CODES[_FAULT], FAILED, who.request_id)
            return
        if not inside.told:
            self._tell(scope, who, answer.status)

    def _tell(self, scope: Scope, who: Correlation, status: int) -> None:
        if status:
            self._events.delivered(scope, who, "", status)
        else:
            self._events.abandoned(scope, who, "")


def _below(root_path: str, path: str) -> str:
    """The path without the prefix under which a proxy offers the app, if the proxy has left it there."""
    rest = path.removeprefix(root_path)
    return rest if rest.startswith("/") else path


class _Answer:
    """An app's answer on its way out."""

    __slots__ = ("_allowed", "_inside", "_send", "_who", "status", "whole")

    def __init__(self, send: Send, who: Correlation, inside: Inside, allowed: tuple[str, ...]) -> None:
        self._send, self._who, self._inside, self._allowed = send, who, inside, allowed
        self.status = 0
        self.whole = False

    async def send(self, message: Message) -> None:
        """Pass on one message, with the headers that all our answers have."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(list(message.get("headers", ())))}
        elif kind == "http.response.body" and not message.get("more_body", False):
            self.whole = True
            if self._inside.inbox is not None:
                self._inside.inbox.answered = True
        await self._send(message)

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        if not any(name.lower() == b"x-request-id" for name, _ in headers):
            headers.append((b"x-request-id", self._who.request_id.encode("latin-1")))
        if self._allowed and self.status == 405:  # noqa: PLR2004 - only the first of several routes has spoken
            said = [value.decode("latin-1").split(",") for name, value in headers if name.lower() == b"allow"]
            methods = {method.strip() for part in said for method in part} | set(self._allowed)
            headers = [pair for pair in headers if pair[0].lower() != b"allow"]
            headers.append((b"allow", ", ".join(sorted(methods)).encode("latin-1")))
        return headers
