"""JSON that somebody else wrote. Pure."""

# ruff: noqa: ANN401 - what is read is of any kind

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ipc.decoding.limits import (
    JSON_DEPTH,
    MAX_BITS,
    MAX_ELEMENTS,
    MAX_KEYS,
    shallow,
    too_deep,
    too_large,
    too_many,
    too_many_keys,
    twice,
)

_BLOCK = 16_384
_NOTHING = ()
_ESCAPES = re.compile(rb"\\*+.?", re.DOTALL)


_read_shallow = msgspec.json.Decoder(shallow()).decode
_read_json = msgspec.json.Decoder().decode
_write_json = msgspec.json.Encoder().encode


def json_value(data: bytes | bytearray | memoryview | msgspec.Raw) -> Any:
    """What a JSON document says, in plain values; OverLimit or another msgspec.DecodeError."""
    data = data if type(data) is bytes else bytes(data)
    weigh_json(data)
    try:
        value = _read_shallow(data)
    except msgspec.ValidationError:
        value = _read_deep(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    # Of a key that stands twice one is lost, and its colon. Nothing else makes or loses one, but for its own escape.
    if b"\\u003" in data:
        json.loads(data.decode(), object_pairs_hook=_once, parse_int=str, parse_float=str, strict=False)
    elif _write_json(value).count(b":") != data.count(b":"):
        raise twice()
    return value


def json_object(text: str) -> dict[str, Any] | None:
    """What one line of a log says, or None if it is no JSON object: then something other than a logger wrote it."""
    if not text.startswith("{"):
        return None
    try:
        found = json_value(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return found if isinstance(found, dict) else None


def weigh_json(data: bytes, elements: int = MAX_ELEMENTS) -> None:
    """OverLimit if the document has more elements than that. Costs nothing for a short one, memory for none."""
    if len(data) <= elements:
        return
    at, total, quoted = 0, 0, 0
    while at < len(data):
        end = at + _BLOCK
        if data[end - 1 : end] == b"\\" and (rest := _ESCAPES.match(data, end)):
            end = rest.end()  # no block ends within an escape
        block = data[at:end]
        if b"\\" in block:
            block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        pieces = block.split(b'"')
        total += _elements(b"".join(pieces[quoted::2]))
        if total > elements:
            raise too_many("JSON", elements)
        quoted ^= len(pieces) - 1 & 1
        at = end


def _elements(text: bytes) -> int:
    return text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")


def _read_deep(data: bytes) -> Any:
    """A document that is no shallow one: it may be well for all that."""
    try:
        value = _read_json(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None
    except RecursionError:
        raise too_deep("JSON", JSON_DEPTH) from None
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [item for one in level for item in _items(one)]
    if any(_items(one) is not _NOTHING for one in level):
        raise too_deep("JSON", JSON_DEPTH)
    return value


def _items(one: Any) -> Any:
    """What is in a list or an object; of anything else there is nothing, and whole numbers are bounded."""
    if type(one) is list:
        return one
    if type(one) is dict:
        if len(one) > MAX_KEYS:
            raise too_many_keys()
        return one.values()
    if type(one) is int and one.bit_length() > MAX_BITS:
        raise too_large()
    return _NOTHING


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise twice()
