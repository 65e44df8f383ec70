"""Declared endpoints in the OpenAPI document of the FastAPI app, with the schemas of their contracts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from web_worker.responses import NO_BODY, PROBLEM_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fastapi import FastAPI

    from ipc.contract import NodeContract, Result
    from ipc.messages.settings import EndpointSettings

_REF = "#/components/schemas/"
_OURS = "@contract"
"""Ends the references of our own operations until the document is made: no name of a component can have it."""
_ERRORS = {
    "413": "The body is too large.",
    "415": "The body is not of the declared media type.",
    "422": "The request does not have the declared shape.",
    "500": "The node failed.",
    "502": "The process that worked on it ended; it may or may not have been done.",
    "503": "Nothing was done; try again later.",
    "504": "No answer in time; it may or may not have been done.",
}
_PROBLEM = "Problem"


def operation_ids(endpoints: Iterable[EndpointSettings]) -> dict[tuple[str, str], str]:
    """A name for each path and method that no other has: by the node, and where that is not enough by the path."""
    ids: dict[tuple[str, str], str] = {}
    for each in endpoints:
        for method in each.methods:
            name = f"{method.lower()}_{each.node.replace('.', '_')}"
            if name in ids.values():
                name += re.sub(r"\W+", "_", each.path).rstrip("_")
            while name in ids.values():
                name += "_"
            ids[each.path, method] = name
    return ids


def operation(contract: NodeContract, path: str) -> dict[str, Any]:
    """What `openapi_extra` of a route says of its parameters and body."""
    extra: dict[str, Any] = {}
    parameters: list[dict[str, Any]] = []
    for p in contract.parameters:
        in_path = f"{{{p.name}}}" in path or f"{{{p.name}:" in path
        place = "path" if in_path else "query"
        schema = _marked(p.json_schema)
        parameters.append({"name": p.name, "in": place, "required": in_path or p.required, "schema": schema})
    if parameters:
        extra["parameters"] = parameters
    body = contract.body
    if body is not None:
        schema = _marked(body.json_schema) or {"type": "string", "format": "binary"}
        extra["requestBody"] = {"required": body.required, "content": {body.media_type: {"schema": schema}}}
    return extra


def responses(contract: NodeContract, status: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of its answers."""
    told: dict[int | str, dict[str, Any]] = {status: {"description": "Done."}}
    if status not in NO_BODY:
        told[status]["content"] = _content(contract.result)
    for code, description in _ERRORS.items():
        if code == "413" and contract.body is None:
            continue
        if code == "415" and (contract.body is None or contract.body.kind != "json"):
            continue
        schema = {"$ref": _REF + _PROBLEM + _OURS}
        told[code] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return told


def _content(result: Result) -> dict[str, Any]:
    if result.kind == "response":
        return {"*/*": {"schema": {}}}
    schema = _marked(result.json_schema) or ({"type": "string", "format": "binary"} if result.kind == "bytes" else {})
    return {result.media_type: {"schema": schema}}


def publish(app: FastAPI, components: Mapping[str, Any]) -> None:
    """Let the app's document carry the schemas that declared endpoints refer to."""
    make = app.openapi
    ours = {name: _marked(schema) for name, schema in {**components, _PROBLEM: PROBLEM_SCHEMA}.items()}
    finished: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        nonlocal finished
        document = make()
        if document is not finished:  # FastAPI makes it anew when routes were added
            _complete(document, ours)
            finished = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as the way to extend it


def _complete(document: dict[str, Any], ours: Mapping[str, Any]) -> None:
    """Put in the schemas that are referred to; those of the app keep their names."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    wanted: dict[str, None] = {}
    waiting: list[Any] = [document.get("paths")]
    while waiting:
        for name in _names_in(waiting.pop()):
            if name in ours and name not in wanted:
                wanted[name] = None
                waiting.append(ours[name])
    names = {name: _name_for(name, ours[name], schemas) for name in wanted}

    def final(text: str) -> str:
        name = text.removeprefix(_REF).removesuffix(_OURS)
        return _REF + names.get(name, name) if text.endswith(_OURS) else text

    for name in wanted:
        schemas.setdefault(names[name], _walked(ours[name], final))
    document["paths"] = _walked(document.get("paths", {}), final)
    for path in document["paths"].values():
        for each in path.values():
            if isinstance(each, dict) and "parameters" in each:
                # A dependency may take a parameter of the path too; what the node says of it comes last.
                each["parameters"] = list({(p.get("in"), p.get("name")): p for p in each["parameters"]}.values())


def _name_for(name: str, schema: Any, taken: Mapping[str, Any]) -> str:  # noqa: ANN401 - a JSON schema
    """Its own, unless the app has another schema of that name."""
    chosen = name
    while chosen in taken and _essence(taken[chosen]) != _essence(schema):
        chosen = f"{chosen}-Node"
    return chosen


def _essence(schema: Any) -> Any:  # noqa: ANN401 - as above
    """A schema without its texts."""
    if isinstance(schema, dict):
        kept = {name: _essence(each) for name, each in schema.items() if name not in {"title", "description"}}
        # A property may be called title: then it stays.
        return kept | {"properties": {name: _essence(each) for name, each in schema.get("properties", {}).items()}}
    if isinstance(schema, list):
        return [_essence(each) for each in schema]
    return schema.removesuffix(_OURS) if isinstance(schema, str) else schema


def _marked(schema: Any) -> Any:  # noqa: ANN401 - as above
    return _walked(schema, lambda text: text + _OURS)


def _walked(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - as above
    """A copy in which every reference to a component is changed."""
    if isinstance(value, dict):
        return {name: _walked(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(each, change) for each in value]
    return change(value) if isinstance(value, str) and value.startswith(_REF) else value


def _names_in(value: Any) -> set[str]:  # noqa: ANN401 - as above
    """The components that are referred to from our own parts."""
    found: set[str] = set()

    def note(text: str) -> str:
        if text.endswith(_OURS):
            found.add(text.removeprefix(_REF).removesuffix(_OURS))
        return text

    _walked(value, note)
    return found
