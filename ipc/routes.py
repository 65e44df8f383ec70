"""The routes of a user's FastAPI app, read from the outside: FastAPI itself is not needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipc.contract import AppRoute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_ROUTES = 5_000
"""How many routes of an app are told of."""
_DOCUMENTS = ("openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url")


def own_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """Whatever has a path in the user's app, with those of the routers it includes."""
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is None:
            yield route
        else:
            yield from (getattr(each, "starlette_route", None) or each for each in included())


def told_of(app: Any) -> tuple[AppRoute, ...]:  # noqa: ANN401 - whatever the user calls an app
    """The app's routes as data; none of an app that is no FastAPI's, or hides them."""
    found: list[AppRoute] = []
    try:
        documents = {getattr(app, name, None) for name in _DOCUMENTS} - {None}
        for route in own_routes(getattr(app, "routes", ())):
            path = str(getattr(route, "path", ""))
            methods = {str(method) for method in getattr(route, "methods", None) or ()}
            if "GET" in methods:
                methods.discard("HEAD")  # it comes with every GET
            kind = "docs" if path in documents else "http" if methods else _other(route)
            found.append(AppRoute(path, tuple(sorted(methods)), kind))
            if len(found) == MAX_ROUTES:
                break
    except Exception:  # noqa: BLE001 - an app's own class may do anything; it is served all the same
        return tuple(found)
    return tuple(found)


def _other(route: object) -> str:
    """What has a path and no methods."""
    return "websocket" if "WebSocket" in type(route).__name__ else "mount" if hasattr(route, "app") else "other"
