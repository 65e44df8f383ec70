"""Types as data: described where they can be imported, rebuilt as validators where they must not be."""

from typing import Any

import msgspec


def describe(kind: Any) -> Any:
    return None


def custom_in(info: msgspec.inspect.Type) -> Any:
    """The first type within `info` that msgspec does not know, or None."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        item = waiting.pop()
        if isinstance(item, msgspec.inspect.CustomType):
            return item.cls
        if isinstance(item, tuple):
            waiting.extend(item)
        elif isinstance(item, msgspec.inspect.Type | msgspec.inspect.Field) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(getattr(item, name) for name in item.__struct_fields__)
    return None
