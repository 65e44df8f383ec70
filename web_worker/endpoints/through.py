"""Declared endpoints that are served inside of the FastAPI app, behind its middleware and their dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound

from ipc.errors import Misuse
from web_worker.correlation import correlate
from web_worker.inside import inside_of
from web_worker.responses import failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.datastructures import URLPath
    from starlette.requests import Request

    from web_worker.endpoints.http import HttpEndpoint
    from web_worker.front import Front
    from web_worker.responses import Message, Receive, Scope, Send


def route_function(endpoint: HttpEndpoint) -> Callable[[Any], Awaitable[Response]]:
    """What FastAPI calls once dependencies have run."""

    async def serve(request: Any) -> Response:  # noqa: ANN401 - see below
        return Handed(endpoint, request)

    from starlette.requests import Request as Seen  # noqa: PLC0415 - FastAPI reads the annotation

    serve.__annotations__["request"] = Seen
    return serve


class Through:
    """In front of the app: leads requests for one endpoint to its route in the app."""

    def __init__(self, front: Front, route: BaseRoute, most: int) -> None:
        self._front, self._route, self._most = front, route, most

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, _path_values: Mapping[str, str] | None = None, /
    ) -> None:
        """Serve one request."""
        await self._front.through(scope, receive, send, (), self._route, self._most)


class Chosen(BaseRoute):
    """The first route of an app: takes the requests for which an endpoint was found in front of it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """What the route that was found says."""
        inside = inside_of(scope)
        if inside is None or inside.chosen is None:
            return Match.NONE, {}
        found: tuple[Match, Scope] = inside.chosen.matches(scope)
        return found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it answer."""
        inside = inside_of(scope)
        assert inside is not None  # noqa: S101 - it matched
        await inside.chosen.handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:  # noqa: ANN401 - Starlette's
        """It has no path of its own."""
        raise NoMatchFound(name, path_params)


class Handed(Response):
    """An answer that is written by the endpoint itself, after the app's middleware and dependencies had their say."""

    def __init__(self, endpoint: HttpEndpoint, request: Request) -> None:
        super().__init__()
        self._endpoint, self._request = endpoint, request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, then run what dependencies left for afterwards."""
        inside = inside_of(scope)
        who = inside.who if inside is not None else correlate(scope["headers"])
        if inside is not None:
            inside.told = True
        values = {name: str(value) for name, value in self._request.path_params.items()}
        try:
            receive = _again(self._request, receive)
        except Misuse as error:
            self._endpoint.events.refused(scope, who, self._endpoint.node, 500, error, begun=False)
            await failure(send, error, who.request_id)
            return
        await self._endpoint(scope, receive, send, values, who)
        if self.background is not None:
            await self.background()


def _again(request: Request, receive: Receive) -> Receive:
    """`receive` with the body in front, if a dependency has read it. Misuse if it kept none."""
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        if getattr(request, "_stream_consumed", False):
            raise Misuse("a dependency took the body as a stream or a form; `await request.body()` leaves it readable")
        return receive
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
