"""What a node says of calls that may run together, and how its lists are read: one caller, one item, one result."""

# ruff: noqa: ANN401 - an annotation is a value of any kind

from __future__ import annotations

import types
import typing
from typing import Any

from msgspec import Struct

MAX_SIZE = 256
"""Calls that may run together. Each has a row in its worker's ledger while it does."""
MAX_WAIT_MS = 1000.0
"""How long a call may be made to wait for others at most, ms."""


class Batch(Struct, frozen=True):
    """`@node(batch=Batch(max_size=32, max_wait_ms=5))`: run up to `max_size` calls as one."""

    max_size: int = 32
    max_wait_ms: float = 5.0
    """How long a worker that is free may wait for others to come. It waits for less, or not at all, where it has
    learned that nobody comes in time."""

    def fault(self) -> str | None:
        """What is wrong with it, or None."""
        if type(self.max_size) is not int or not 1 <= self.max_size <= MAX_SIZE:
            return f"max_size={self.max_size!r} is not a whole number from 1 to {MAX_SIZE}"
        if type(self.max_wait_ms) not in (int, float) or not 0 <= self.max_wait_ms <= MAX_WAIT_MS:
            return f"max_wait_ms={self.max_wait_ms!r} is not a number from 0 to {MAX_WAIT_MS:g}"
        return None


def item_of(kind: Any) -> Any | None:
    """`T` of `list[T]`; None for any other annotation."""
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    if typing.get_origin(kind) is not list:
        return None
    (item,) = typing.get_args(kind)
    return types.NoneType if item is None else item


def result_of(kind: Any) -> Any | None:
    """The same for what is returned: `R` of `list[R | ValueError]`, for an error may stand in a result's place."""
    item = item_of(kind)
    parts = typing.get_args(item) if typing.get_origin(item) in (typing.Union, types.UnionType) else (item,)
    results = tuple(part for part in parts if not _is_error(part))
    return typing.Union.__getitem__(results) if item is not None and results else None


def _is_error(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseException)
