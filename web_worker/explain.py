"""Errors of a FastAPI app in the one shape that all errors have. What the app handles in its own way stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, exception_handlers
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.status import WS_1011_INTERNAL_ERROR as WS_FAILED
from starlette.status import WS_1013_TRY_AGAIN_LATER as WS_TRY_AGAIN_LATER
from starlette.websockets import WebSocket

from ipc.errors import IpcError
from web_worker.errors import CODES, FAILED, is_retryable, retry_after_of, sentence_of, status_of
from web_worker.inside import inside_of
from web_worker.responses import NO_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

    from web_worker.events import Events

_FAULT = 500
_INVALID = 422


def explain_errors(app: FastAPI, events: Events) -> None:
    """Answer for the app where it has nothing of its own to say."""

    async def on_ipc_error(request: HTTPConnection, error: Exception) -> Response | None:
        assert isinstance(error, IpcError)  # noqa: S101 - registered for it
        status = status_of(error)
        inside = inside_of(request.scope)
        if inside is not None:
            inside.told = True
            events.refused(request.scope, inside.who, "", status, error, begun=True)
        if isinstance(request, WebSocket):
            await request.close(WS_TRY_AGAIN_LATER if is_retryable(error) else WS_FAILED, sentence_of(error))
            return None
        wait = retry_after_of(error)
        headers = None if wait is None else {"retry-after": str(wait)}
        return _problem(request, status, error.code, sentence_of(error), headers)

    ours: dict[type[Exception], tuple[Callable[..., Any], Callable[..., Any]]] = {
        IpcError: (on_ipc_error, on_ipc_error),
        HTTPException: (exception_handlers.http_exception_handler, _on_http_error),
        RequestValidationError: (exception_handlers.request_validation_exception_handler, _on_invalid),
    }
    for kind, (default, handler) in ours.items():
        if app.exception_handlers.get(kind, default) is default:
            app.add_exception_handler(kind, handler)
    if not {_FAULT, Exception} & app.exception_handlers.keys():
        app.add_exception_handler(Exception, _on_crash)


def _problem(request: HTTPConnection, status: int, code: str, detail: object, headers: Any = None) -> Response:  # noqa: ANN401 - Starlette's
    if status in NO_BODY:
        return Response(status_code=status, headers=headers)
    inside = inside_of(request.scope)
    request_id = inside.who.request_id if inside is not None else ""
    body = {"detail": detail, "status_code": status, "code": code, "request_id": request_id}
    return JSONResponse(body, status, headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    status = error.status_code
    return _problem(request, status, CODES.get(status, f"http_{status}"), error.detail, error.headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    # A body that is no text is among the values that are complained of.
    faults = jsonable_encoder(error.errors(), custom_encoder={bytes: lambda value: value.decode("utf-8", "replace")})
    return _problem(request, _INVALID, CODES[_INVALID], faults)


async def _on_crash(request: Request, _error: Exception) -> Response:
    return _problem(request, _FAULT, CODES[_FAULT], FAILED)
