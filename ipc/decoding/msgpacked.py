"""msgpack that somebody else wrote. Pure."""

# ruff: noqa: ANN401 - what is read is of any kind

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from ipc.decoding.limits import (
    MAX_ELEMENTS,
    MAX_KEYS,
    MSGPACK_DEPTH,
    UNREADABLE,
    OverLimit,
    shallow,
    told,
    too_deep,
    too_many,
    too_many_keys,
    twice,
)

_STR = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB})
_INT = frozenset({*range(0x80), *range(0xE0, 0x100), *range(0xCC, 0xD4)})
_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes and texts: how many bytes say their length."""
_COUNTS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Lists and maps: how many bytes say their number."""
_FIXED = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_TIMES = {0xD6: (b"\xd6\xff", 6), 0xD7: (b"\xd7\xff", 10), 0xC7: (b"\xc7\x0c\xff", 15)}
"""Points in time, the one extension there is, for that is how a `datetime` travels: how they begin, their bytes."""
_CUT = "Input data was truncated"
_STEP = [
    *([1] * 0x80),  # small numbers
    *([0] * 0x20),  # short maps and lists
    *range(1, 0x21),  # short texts
    *(1 if kind in {0xC0, 0xC2, 0xC3} else _FIXED.get(kind, 0) for kind in range(0xC0, 0xE0)),
    *([1] * 0x20),  # small negative numbers
]
"""The bytes of a value by its first byte; 0 if more has to be looked at."""

_read_flat = msgspec.msgpack.Decoder(shallow()).decode
_read_msgpack = msgspec.msgpack.Decoder().decode
_write_msgpack = msgspec.msgpack.Encoder().encode


def msgpack_value(data: bytes | bytearray | memoryview | msgspec.Raw) -> Any:
    """What a msgpack document says, in plain values; OverLimit or another msgspec.DecodeError."""
    data = data if type(data) is bytes else bytes(data)
    if (value := _quick(data)) is msgspec.UNSET:
        _walk(data, MAX_ELEMENTS, MSGPACK_DEPTH)
        try:
            value = _read_msgpack(data)
        except UNREADABLE as error:
            raise msgspec.DecodeError(told(error)) from None
    return value


def inspect_msgpack(
    data: bytes | bytearray | memoryview | msgspec.Raw, elements: int = MAX_ELEMENTS, depth: int = MSGPACK_DEPTH
) -> None:
    """OverLimit or msgspec.DecodeError unless it is one whole document, and all of it may be decoded."""
    data = data if type(data) is bytes else bytes(data)
    if _quick(data) is msgspec.UNSET:
        _walk(data, elements, depth)


def _quick(data: bytes) -> Any:
    """The value of nearly all documents, UNSET of those that have to be walked through.

    It is small, flat and all its keys are texts. What an encoder writes again to the byte has no key twice.
    """
    if len(data) > MAX_ELEMENTS:
        return msgspec.UNSET
    try:
        value = _read_flat(data)
        return value if _write_msgpack(value) == data else msgspec.UNSET
    except UNREADABLE:
        return msgspec.UNSET


def _walk(data: bytes, elements: int, depth: int) -> None:
    """Look at every header. They are believed only to refuse them: nothing is set aside for what they announce."""
    step, at, left, total = _STEP, 0, 1, 1
    names: set[bytes | int] | None = None  # the keys of the map that is read, if one is
    around: list[tuple[int, set[bytes | int] | None]] = []
    try:
        while True:
            while not left:
                if not around:
                    return _end(data, at)
                left, names = around.pop()
            left -= 1
            kind = data[at]
            size = step[kind]
            if names is not None and left & 1:  # of a pair two were left: this is the key
                at = _key(data, at, names)
            elif size:
                at += size
            elif kind in _SIZES or kind in _TIMES:
                at = _after(data, at)
            else:
                count, at = _count(data, at)
                around.append((left, names))
                left, names = count, set() if kind in _MAPS else None
                total += count
                if total > elements:
                    raise too_many("msgpack", elements)
                if len(around) > depth:
                    raise too_deep("msgpack", depth)
    except IndexError:
        raise msgspec.DecodeError(_CUT) from None


def _end(data: bytes, at: int) -> None:
    if at != len(data):
        raise msgspec.DecodeError(_CUT if at > len(data) else "MessagePack data is malformed: trailing characters")


def _after(data: bytes, at: int) -> int:
    """Where a text, bytes or a point in time end."""
    kind = data[at]
    if kind in _SIZES:
        head = at + 1 + _SIZES[kind]
        return head + int.from_bytes(data[at + 1 : head], "big")
    begin, size = _TIMES[kind]
    if data[at + 1 : at + len(begin)] != begin[1:]:
        _refuse_type()
    return at + size


def _count(data: bytes, at: int) -> tuple[int, int]:
    """How many values a list or a map announces, keys included, and where they begin."""
    kind = data[at]
    if kind < 0xA0:  # noqa: PLR2004 - the last of the short ones
        return (kind & 15) << (kind in _MAPS), at + 1
    if kind not in _COUNTS:
        _refuse_type()
    begin = at + 1 + _COUNTS[kind]
    count = int.from_bytes(data[at + 1 : begin], "big")
    if kind not in _MAPS:
        return count, begin
    if count > MAX_KEYS:
        raise too_many_keys()
    return count * 2, begin


def _key(data: bytes, at: int, names: set[bytes | int]) -> int:
    """Read a key: a text, or a whole number. Anything else can be chosen to make tables slow."""
    kind = data[at]
    size = _STEP[kind]
    if kind in _STR:
        head = 1 + _SIZES.get(kind, 0)
        end = at + (size or head + int.from_bytes(data[at + 1 : at + head], "big"))
        name: bytes | int = data[at + head : end]
    elif kind in _INT:
        end = at + size
        name = _number(data, at, end)
    else:
        raise OverLimit("A key of a map has to be a text or a whole number")
    if name in names:
        raise twice()
    names.add(name)
    return end


def _number(data: bytes, at: int, end: int) -> int:
    kind = data[at]
    if end == at + 1:
        return kind if kind < 0x80 else kind - 0x100  # noqa: PLR2004 - the small ones are their own value
    return int.from_bytes(data[at + 1 : end], "big", signed=kind >= 0xD0)  # noqa: PLR2004 - the signed ones


def _refuse_type() -> NoReturn:
    raise OverLimit("The msgpack has a value of an extension type, or of none")
