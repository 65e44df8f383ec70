"""The first to see a request: health, then declared endpoints, then the FastAPI app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from web_worker.correlation import correlate
from web_worker.health import PATHS
from web_worker.responses import problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ipc.scoreboard import Scoreboard
    from web_worker.endpoints.http import HttpEndpoint
    from web_worker.health import Health
    from web_worker.responses import Message, Receive, Scope, Send
    from web_worker.routing import Table

    App = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "shunter.correlation"
"""Where the app's own routes, and `Handoff` in them, find who a request is."""


class Front:
    """An ASGI application around another one."""

    def __init__(self, app: App, table: Table[HttpEndpoint], health: Health, scoreboard: Scoreboard) -> None:
        self._app, self._table, self._health, self._scoreboard = app, table, health, scoreboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._scoreboard.begin()
        try:
            path, method = scope["path"], scope["method"]
            found = self._table.find(method, path)
            if found is not None:
                if found.endpoint is not None:
                    await found.endpoint(scope, receive, send, found.values)
                else:
                    await self._not_allowed(scope, send, found.allowed)
            elif path in PATHS:
                await self._health(path, method, send, correlate(scope["headers"]).request_id)
            else:
                await self._through(scope, receive, send)
        finally:
            self._scoreboard.end()

    async def _not_allowed(self, scope: Scope, send: Send, allowed: tuple[str, ...]) -> None:
        request_id = correlate(scope["headers"]).request_id
        allow = [(b"allow", ", ".join(allowed).encode())]
        await problem(send, 405, "method_not_allowed", "Method Not Allowed", request_id, allow)

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything else is the app's; it gets the request's identity, and its answer carries it."""
        who = scope[SCOPE_KEY] = correlate(scope["headers"])
        request_id = (b"x-request-id", who.request_id.encode("latin-1"))

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == b"x-request-id" for name, _ in headers):
                    headers.append(request_id)
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, with_id)
