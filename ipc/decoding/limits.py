"""How much of what bytes describe is built: limits that hold before memory is spent. Pure.

One MiB may describe a million empty maps, which take 74 MiB. So bytes are weighed before they are decoded, by
counting, and looked at for what decoders let pass: the same key twice, keys that are no names, types of somebody
else's, nesting that whoever handles the value next may not survive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MAX_ELEMENTS = 65_536
"""Elements of one document. In msgpack every value and every key is one; in JSON each comma, colon and opening bracket
outside of strings counts, which is the same give or take the empty ones."""
JSON_DEPTH = 64
"""How deep lists and objects may be nested in JSON."""
MSGPACK_DEPTH = 32
"""The same in msgpack."""
MAX_KEYS = 4096
"""Keys of one map."""
MAX_BITS = 1024
"""Bits of a whole number in JSON: it fits into a double, if not exactly. Longer ones take long to write down again."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that a decoder of msgspec raises, whatever the bytes are."""


class OverLimit(msgspec.DecodeError):
    """More than may be decoded, or a form that nobody has to send. The sentence says which limit."""


def told(error: Exception) -> str:
    """What one of these says to whoever sent the bytes."""
    return "The document is nested too deep" if isinstance(error, RecursionError) else str(error)


def careful(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """The same decoder, raising nothing but msgspec.DecodeError. A type with no `Any` in it bounds what is built."""

    def read(data: bytes) -> T:
        try:
            return decode(data)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(told(error)) from None

    return read


def too_many(what: str, elements: int) -> OverLimit:
    """The refusal of a document with more than so many elements."""
    return OverLimit(f"The {what} has more than {elements} elements")


def too_deep(what: str, depth: int) -> OverLimit:
    """The refusal of a document with more than so many levels."""
    return OverLimit(f"The {what} is nested deeper than {depth} levels")


def too_many_keys() -> OverLimit:
    """The refusal of a map with more keys than any may have."""
    return OverLimit(f"An object has more than {MAX_KEYS} keys")


def too_large() -> OverLimit:
    """The refusal of a number that is no double either."""
    return OverLimit("A number is out of range")


def twice() -> OverLimit:
    """The refusal of a map that has a key twice."""
    return OverLimit("The same key stands twice in one object; keep one of them")


_LEVELS = 6
"""Nesting of nearly all documents. A type of 64 levels would have 2^64 parts."""


def shallow() -> Any:  # noqa: ANN401 - a type
    """Everything that JSON can say, to a few levels, as a type: its decoder checks that much in passing."""
    scalars = str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None
    kind: Any = scalars
    for _ in range(_LEVELS):
        kind = list[kind] | Annotated[dict[str, kind], Meta(max_length=MAX_KEYS)] | scalars
    return kind
