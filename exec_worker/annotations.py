"""What an annotation says of where a value comes from: the query, the body, a stream; and its media type."""

# ruff: noqa: ANN401 - an annotation is a value of any kind

import types
import typing
from collections import abc
from typing import Any, Literal

from exec_worker.codec import REF

_STREAMS = frozenset(
    {
        abc.Iterator,
        abc.Iterable,
        abc.Generator,
        abc.AsyncIterator,
        abc.AsyncIterable,
        abc.AsyncGenerator,
        abc.Awaitable,
        abc.Coroutine,
    }
)

JSON = "application/json"


def is_json(media_type: str) -> bool:
    """Whether what is of this media type is JSON: `application/problem+json` is."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare == JSON or bare.endswith("+json")


def unwrapped(kind: Any) -> tuple[Any, bool, str | None]:
    """The type without `Annotated` and `| None`, whether None is allowed, and the media type it names."""
    optional, media_type = False, None
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            named = [item for item in kind.__metadata__ if isinstance(item, str) and "/" in item]
            media_type = str.__str__(named[0]) if named else media_type  # plain, whatever subclass it is
            kind = kind.__origin__
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":  # in `typing` from 3.12 on, before in `typing_extensions`
            kind = kind.__value__
        elif typing.get_origin(kind) in (typing.Union, types.UnionType) and type(None) in typing.get_args(kind):
            rest = [part for part in typing.get_args(kind) if part is not type(None)]
            if len(rest) != 1:
                return kind, True, media_type
            kind, optional = rest[0], True
        else:
            return kind, optional, media_type


def streams(kind: Any) -> bool:
    """Whether it stands for items that come one after the other, or for a result that is to be awaited."""
    bare, _, _ = unwrapped(kind)
    parts = typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else (bare,)
    return any((typing.get_origin(part) or part) in _STREAMS for part in parts if isinstance(part, abc.Hashable))


def holds_bytes(bare: Any) -> bool:
    """Whether it is, or may be, bytes where only text and numbers can stand."""
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return any(unwrapped(part)[0] is bytes or holds_bytes(part) for part in typing.get_args(bare))
    return bare in (bytearray, memoryview) if isinstance(bare, type) else False


def place_of(schema: dict[str, Any], components: dict[str, Any]) -> Literal["parameter", "many", "body"]:
    """Where a value of this schema comes from; ValueError for one that could come from two places."""
    if (name := schema.get("$ref")) is not None:
        target = components[name.removeprefix(REF)]
        return "parameter" if "enum" in target else "body"
    if "enum" in schema or "const" in schema:
        return "parameter"
    if (options := schema.get("anyOf") or schema.get("oneOf")) is not None:
        places = {place_of(option, components) for option in options if option.get("type") != "null"}
        if len(places) > 1:
            raise ValueError("values that have to come from different places (query, body)")
        return places.pop() if places else "parameter"
    kinds = schema.get("type", "object")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if "array" in kinds:
        items = [*schema.get("prefixItems", ()), *([schema["items"]] if schema.get("items") else ())]
        flat = items and all(place_of(item, components) == "parameter" for item in items)
        return "many" if flat else "body"
    if "object" in kinds or schema.get("contentEncoding"):
        return "body"
    return "parameter"
