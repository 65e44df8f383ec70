"""Declared endpoints in the OpenAPI document of the FastAPI app, with the schemas of their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from web_worker.responses import PROBLEM_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from ipc.contract import NodeContract, Result

_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ERRORS = {
    "413": "The body is too large.",
    "422": "The request does not have the declared shape.",
    "500": "The node failed.",
    "502": "The process that worked on it ended; it may or may not have been done.",
    "503": "Nothing was done; try again later.",
    "504": "No answer in time; it may or may not have been done.",
}


def operation(contract: NodeContract, path: str) -> dict[str, Any]:
    """What `openapi_extra` of a route says of its parameters and body."""
    extra: dict[str, Any] = {}
    if contract.parameters:
        extra["parameters"] = [
            {
                "name": p.name,
                "in": "path" if f"{{{p.name}}}" in path or f"{{{p.name}:" in path else "query",
                "required": p.required,
                "schema": p.json_schema,
            }
            for p in contract.parameters
        ]
    body = contract.body
    if body is not None:
        schema = body.json_schema or {"type": "string", "format": "binary"}
        extra["requestBody"] = {"required": body.required, "content": {body.media_type: {"schema": schema}}}
    return extra


def responses(contract: NodeContract, status: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of its answers."""
    told: dict[int | str, dict[str, Any]] = {status: {"description": "Done.", "content": _content(contract.result)}}
    for code, description in _ERRORS.items():
        told[code] = {"description": description, "content": _PROBLEM}
    return told


def _content(result: Result) -> dict[str, Any]:
    if result.kind == "response":
        return {"*/*": {"schema": {}}}
    schema = result.json_schema or ({"type": "string", "format": "binary"} if result.kind == "bytes" else {})
    return {result.media_type: {"schema": schema}}


def publish(app: FastAPI, components: Mapping[str, Any]) -> None:
    """Let the app's document carry the schemas that declared endpoints refer to."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        document = make()
        if fresh:
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name, schema in {**components, "Problem": PROBLEM_SCHEMA}.items():
                schemas.setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as the way to extend it
