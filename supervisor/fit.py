"""Whether the result of one node can be the body of the next. Pure: contracts in, the reason why not out.

Only what is sure is refused. What a schema cannot say, the exec worker sees when the call is there.
"""

# ruff: noqa: ANN401 - JSON schemas are values of any kind

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipc.contract import NodeContract

MAX_DEPTH = 16
"""How deep two schemas are compared; recursive types end here."""
_REF = "#/components/schemas/"
_ALL = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})


def misfit(before: NodeContract, after: NodeContract, components: Mapping[str, Any]) -> str:
    """Why `after` cannot take what `before` gives; empty if it can."""
    body, result = after.body, before.result
    if body is None or body.kind == "none":
        return f"{after.name} takes no body, so it has no use for what {before.name} returns"
    if result.kind == "response":
        return f"{before.name} returns a Response, and only the last stage has a say in the answer's status and headers"
    if result.kind != body.kind:
        gives, takes = ("bytes", "JSON") if result.kind == "bytes" else ("JSON", "bytes")
        return f"{before.name} returns {gives}, and '{body.name}' of {after.name} takes {takes}"
    if result.kind == "bytes":
        return ""
    why = _differs(result.json_schema, body.json_schema, components, "", MAX_DEPTH)
    return f"what {before.name} returns is not what '{body.name}' of {after.name} takes: {why}" if why else ""


def _differs(given: Any, taken: Any, components: Mapping[str, Any], path: str, depth: int) -> str:
    """The first difference that is sure, at `path`."""
    given, taken = _resolved(given, components), _resolved(taken, components)
    if given == taken or depth == 0:
        return ""
    gives, takes = _types(given, components, depth), _types(taken, components, depth)
    fits = takes | {"integer"} if "number" in takes else takes
    if not gives & fits:  # of several types one may fit, and which it is is seen when the call is there
        where = f" at `{path}`" if path else ""
        return f"{_told(gives)} where {_told(takes)} is expected{where}"
    if gives == takes == {"object"}:
        return _objects_differ(given, taken, components, path, depth)
    if gives == takes == {"array"} and "items" in given and "items" in taken:
        return _differs(given["items"], taken["items"], components, f"{path}[]", depth - 1)
    return ""


def _objects_differ(given: Any, taken: Any, components: Mapping[str, Any], path: str, depth: int) -> str:
    has, wants = given.get("properties"), taken.get("properties")
    if not has or not wants:  # a mapping with any keys
        return ""
    for name in taken.get("required", ()):
        if name not in has:
            return f"there is no `{path}.{name}`".replace("`.", "`")
    if taken.get("additionalProperties") is False and (more := sorted(has.keys() - wants.keys())):
        return f"`{path}.{more[0]}` is not known there".replace("`.", "`")
    for name in has.keys() & wants.keys():
        if why := _differs(has[name], wants[name], components, f"{path}.{name}".removeprefix("."), depth - 1):
            return why
    return ""


def _resolved(schema: Any, components: Mapping[str, Any]) -> Any:
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref", "") if isinstance(schema, dict) else ""
        if not reference.startswith(_REF):
            break
        schema = components.get(reference.removeprefix(_REF), {})
    return schema


def _types(schema: Any, components: Mapping[str, Any], depth: int) -> frozenset[str]:
    """Every type of JSON that a value of the schema may have; all of them where it does not say."""
    schema = _resolved(schema, components)
    if not isinstance(schema, dict) or depth == 0:
        return _ALL
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return frozenset().union(*(_types(each, components, depth - 1) for each in schema[choice]))
    if "type" in schema:
        named = schema["type"]
        return frozenset([named] if isinstance(named, str) else named)
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return _ALL if values is None else frozenset(map(_type_of, values))


def _type_of(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _told(types: frozenset[str]) -> str:
    return " or ".join(sorted(types)) if types != _ALL else "anything"
