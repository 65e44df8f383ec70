"""The application of one web worker: the user's FastAPI app, or a plain one, with the declared endpoints on it."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Request, exception_handlers
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ipc.errors import IpcError
from web_worker.endpoints.http import HttpEndpoint, Shared
from web_worker.errors import is_retryable, sentence_of, status_of
from web_worker.front import SCOPE_KEY, Front
from web_worker.handoff import Handoffs, provide
from web_worker.health import Health
from web_worker.openapi import operation, publish, responses
from web_worker.routing import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.contract import NodeContract
    from ipc.messages.lifeline import EndpointSettings, WebSettings
    from ipc.scoreboard import Scoreboard
    from web_worker.responses import Message, Receive, Scope, Send


def find(dotted: str) -> Any:  # noqa: ANN401 - whatever the user has there
    """Import `shop.main:app` or `shop.deps.tenant`."""
    module, _, name = dotted.partition(":") if ":" in dotted else dotted.rpartition(".")[::1]
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def base_app(settings: WebSettings) -> FastAPI:
    """The user's own app, or a fresh one."""
    sys.path[:0] = [path for path in settings.sys_path if path not in sys.path]
    if settings.app:
        return cast("FastAPI", find(settings.app))
    if settings.docs:
        return FastAPI(title=settings.title)
    return FastAPI(title=settings.title, docs_url=None, redoc_url=None, openapi_url=None)


def build(app: FastAPI, settings: WebSettings, shared: Shared, scoreboard: Scoreboard) -> tuple[Front, Health]:
    """Put the declared endpoints on `app`, and ours in front of it."""
    contracts = {contract.name: contract for contract in settings.nodes}
    table: Table[HttpEndpoint] = Table()
    for declared in settings.endpoints:
        contract = contracts[declared.node]
        endpoint = HttpEndpoint(declared, contract, shared)
        if not declared.through_app and not declared.dependencies:
            table.add(declared.path, declared.methods, endpoint)
        _register(app, declared, contract, endpoint)
    publish(app, settings.components)
    provide(app.state, Handoffs(shared.caller, settings.nodes, settings.default_timeout))
    _explain_errors(app)
    health = Health(shared.caller)
    return Front(app, table, health, scoreboard), health


def _register(app: FastAPI, declared: EndpointSettings, contract: NodeContract, endpoint: HttpEndpoint) -> None:
    """A route for the document, and for requests that take the way through the app."""

    async def serve(request: Request) -> Response:
        return _Handed(endpoint, dict(request.path_params))

    serve.__name__ = contract.name.rpartition(".")[2]
    router = APIRouter(dependencies=[Depends(find(name)) for name in declared.dependencies])
    router.add_api_route(
        declared.path,
        serve,
        methods=list(declared.methods),
        response_model=None,
        status_code=declared.status,
        summary=contract.summary or None,
        description=contract.description or contract.summary,
        tags=list(declared.tags),
        operation_id=f"{declared.methods[0].lower()}_{contract.name.replace('.', '_')}",
        openapi_extra=operation(contract, declared.path),
        responses=responses(contract, declared.status),
    )
    app.include_router(router)


class _Handed(Response):
    """An answer that is written by the endpoint itself, after the app's middleware and dependencies had their say."""

    def __init__(self, endpoint: HttpEndpoint, values: dict[str, Any]) -> None:
        super().__init__()
        self._endpoint, self._values = endpoint, {name: str(value) for name, value in values.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(scope, receive, send, self._values)


def _explain_errors(app: FastAPI) -> None:
    """One shape for all errors. What the user's app handles in its own way stays as it is."""
    app.add_exception_handler(IpcError, _on_ipc_error)
    ours: dict[type[Exception], tuple[Callable[..., Any], Callable[..., Any]]] = {
        HTTPException: (exception_handlers.http_exception_handler, _on_http_error),
        RequestValidationError: (exception_handlers.request_validation_exception_handler, _on_invalid),
    }
    for kind, (default, handler) in ours.items():
        if app.exception_handlers.get(kind, default) is default:
            app.add_exception_handler(kind, handler)


def _problem(request: Request, status: int, code: str, detail: object, headers: Any = None) -> JSONResponse:  # noqa: ANN401 - Starlette's
    who = request.scope.get(SCOPE_KEY)
    body = {"detail": detail, "status_code": status, "code": code, "request_id": who.request_id if who else ""}
    return JSONResponse(body, status, headers)


async def _on_ipc_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, IpcError)  # noqa: S101 - registered for it
    headers = {"retry-after": "1"} if is_retryable(error) else None
    return _problem(request, status_of(error), error.code, sentence_of(error), headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    codes = {404: "not_found", 405: "method_not_allowed", 401: "unauthenticated", 403: "forbidden"}
    code = codes.get(error.status_code, f"http_{error.status_code}")
    return _problem(request, error.status_code, code, error.detail, error.headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    from fastapi.encoders import jsonable_encoder  # noqa: PLC0415 - only for what is wrong

    return _problem(request, 422, "invalid_request", jsonable_encoder(error.errors()))
