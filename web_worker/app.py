"""The application of one web worker: the user's FastAPI app, or a plain one, with the declared endpoints on it."""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import Depends, FastAPI
from starlette.responses import Response
from starlette.routing import Mount, WebSocketRoute

from ipc.errors import Misuse
from ipc.pipeline import joined
from ipc.routes import own_routes
from web_worker.endpoints.http import HttpEndpoint, Shared
from web_worker.endpoints.row import Row
from web_worker.endpoints.through import Chosen, Through, route_function
from web_worker.explain import explain_errors
from web_worker.front import Endpoint, Front
from web_worker.handoff import Handoffs
from web_worker.health import METHODS, PATHS, Health
from web_worker.openapi import operation, operation_ids, publish, responses
from web_worker.routing import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute

    from ipc.contract import NodeContract
    from ipc.messages.settings import EndpointSettings, WebSettings
    from ipc.scoreboard import Scoreboard

_PARAMETER_NAME = re.compile(r"\{[^}:]*(?::str)?")


class Built(NamedTuple):
    """What a web worker serves."""

    front: Front
    health: Health


def find(dotted: str) -> Any:  # noqa: ANN401 - whatever the user has there
    """Import `shop.main:app` or `shop.deps.tenant`."""
    module, colon, name = dotted.partition(":")
    if not colon:
        module, _, name = dotted.rpartition(".")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def base_app(settings: WebSettings) -> FastAPI:
    """The user's own app, or a fresh one. Raises Misuse, and whatever importing it raises."""
    sys.path[:0] = [path for path in settings.sys_path if path not in sys.path]
    if not settings.app:
        app = FastAPI(title=settings.title)
    else:
        found = find(settings.app)
        if not isinstance(found, FastAPI):
            raise Misuse(f"{settings.app} is a {type(found).__name__}, and has to be a FastAPI app")
        app = found
    if not settings.docs:
        _hide_documentation(app)
    return app


def _hide_documentation(app: FastAPI) -> None:
    urls = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url} - {None}
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) not in urls]
    app.openapi_url = app.docs_url = app.redoc_url = None


def build(app: FastAPI, settings: WebSettings, shared: Shared, scoreboard: Scoreboard) -> Built:
    """Put the declared endpoints on `app`, and ours in front of it. Raises Misuse, and what dependencies raise."""
    table: Table[Endpoint] = Table()
    handoffs = Handoffs(shared.caller, settings.nodes, settings.default_timeout, shared.timeout_header)
    front = Front(app, table, handoffs, shared.events, scoreboard, shared.caller.lookout, app.root_path)
    health = Health(shared.caller)
    for path in PATHS:
        table.add(path, METHODS, health)
    _leave_to_app(app, table, settings.endpoints)
    contracts = {contract.name: contract for contract in settings.nodes}
    ids = operation_ids(settings.endpoints)
    for declared in settings.endpoints:
        stages = [contracts[name] for name in declared.pipeline or (declared.node,)]
        contract = joined(stages)
        # An app-wide dependency is often what asks who is there: no endpoint goes around it.
        inside = bool(declared.through_app or declared.dependencies or app.router.dependencies)
        row = Row(stages, settings.routes) if declared.pipeline else None
        endpoint = HttpEndpoint(declared, contract, shared, plain=inside, row=row)
        for method in declared.methods:
            route = _register(app, declared, contract, endpoint, method, ids[declared.path, method])
            table.add(declared.path, (method,), Through(front, route, shared.max_body) if inside else endpoint)
    app.router.routes.insert(0, Chosen())
    publish(app, settings.components)
    explain_errors(app, shared.events)
    return Built(front, health)


def _register(
    app: FastAPI,
    declared: EndpointSettings,
    contract: NodeContract,
    endpoint: HttpEndpoint,
    method: str,
    operation_id: str,
) -> BaseRoute:
    """A route for the document, and for requests that take the way through the app."""
    app.router.add_api_route(
        declared.path,
        route_function(endpoint),
        methods=[method],
        name=contract.name.rpartition(".")[2],
        dependencies=[Depends(find(name)) for name in declared.dependencies],
        response_model=None,
        response_class=Response,
        status_code=declared.status,
        summary=contract.summary or None,
        description=contract.description or None,
        tags=list(declared.tags),
        operation_id=operation_id,
        openapi_extra=operation(contract, declared.path),
        responses=responses(contract, declared.status),
    )
    return app.router.routes[-1]


def _leave_to_app(app: FastAPI, table: Table[Endpoint], endpoints: Iterable[EndpointSettings]) -> None:
    """Exact paths and mounted apps of the user's come before patterns of ours, as if they had been declared first."""
    declared = {(_shape(each.path), method): each for each in endpoints for method in each.methods}
    for route in own_routes(app.router.routes):
        path = getattr(route, "path", "")
        for method in getattr(route, "methods", None) or ():
            if (each := declared.get((_shape(path), method))) is not None:
                raise Misuse(f"{method} {path} is a route of the app, and declared for {each.node}: keep one of them")
        if "{" in path or isinstance(route, WebSocketRoute):
            continue
        if not isinstance(route, Mount):
            table.reserve(path)
        elif path:
            table.reserve_below(path)


def _shape(path: str) -> str:
    """A path as far as it decides what matches it: the names of parameters do not."""
    return _PARAMETER_NAME.sub("{", path)
