"""Numbers that are none: `NaN` and the infinities, which pydantic reads from text where a float is declared."""

# ruff: noqa: ANN401 - these are values and annotations of any kind

from __future__ import annotations

import math
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ALL = "*"
_CACHED = 1024
"""Classes of which is remembered where they allow such numbers."""
_Step = tuple[str, Any, bool]


def has_floats(schema: Any) -> bool:
    """Whether a float is declared anywhere in a schema of pydantic's core."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("type") == "float":
                return True
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
    return False


def check_finite(value: Any, *, ever: bool) -> None:
    """msgspec.ValidationError, with its path, for a number without end in what pydantic has built.

    Defaults are the application's own. A model that says `allow_inf_nan=True`, for itself or a field, has what it asks
    for where it may be so at all: `ever`.
    """
    waiting: list[_Step] = [("", value, False)]
    seen: set[int] = set()
    while waiting:
        path, item, allowed = waiting.pop()
        if isinstance(item, float):
            if not (allowed and ever) and not math.isfinite(item):
                raise msgspec.ValidationError("Expected a finite number" + (f" - at `${path}`" if path else ""))
        elif not isinstance(item, str | bytes | int | None) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(_within(path, item, allowed))


def _within(path: str, item: Any, allowed: bool) -> Iterator[_Step]:
    cls: Any = type(item)
    if isinstance(item, dict):
        for key, value in item.items():
            yield f"{path}.{key}", value, allowed
            yield f"{path}.{key}", key, allowed
    elif isinstance(item, list | tuple | set | frozenset):
        for number, value in enumerate(item):
            yield f"{path}[{number}]", value, allowed
    elif (given := getattr(item, "model_fields_set", None)) is not None:
        allows = _allowing(cls)
        for name in given:
            yield (
                f"{path}.{name}" if name != "root" else path,
                getattr(item, name, None),
                _ALL in allows or name in allows,
            )
    elif hasattr(item, "__dataclass_fields__"):
        allows = _allowing(cls)
        for name, field in item.__dataclass_fields__.items():
            value = getattr(item, name, None)
            if value is not field.default:
                yield f"{path}.{name}", value, _ALL in allows or name in allows


@lru_cache(_CACHED)
def _allowing(cls: Any) -> frozenset[str]:
    """The fields of a model or dataclass in which it allows such numbers, or `*`."""
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    if config.get("allow_inf_nan") is True:
        return frozenset({_ALL})
    fields = getattr(cls, "__pydantic_fields__", {})
    return frozenset(
        name for name, field in fields.items() if _says_so(field.metadata) or _is_said_in(field.annotation)
    )


def _is_said_in(annotation: Any) -> bool:
    return _says_so(getattr(annotation, "__metadata__", ())) or any(map(_is_said_in, typing.get_args(annotation)))


def _says_so(metadata: Iterable[Any]) -> bool:
    return any(
        getattr(item, "allow_inf_nan", None) is True or _says_so(getattr(item, "metadata", ())) for item in metadata
    )
