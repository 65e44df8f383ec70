from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipc.decoding.jsontext import json_value, weigh_json
from ipc.decoding.limits import JSON_DEPTH, MAX_BITS, MAX_ELEMENTS, MAX_KEYS, OverLimit


class No(Exception):
    pass


def obviously(text: bytes) -> Any:
    """The same verdict, one character after the other."""
    quoted = escaped = False
    depth = elements = 0
    for char in text.decode():
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = char == "\\", char != '"'
        elif char == '"':
            quoted = True
        else:
            elements += char in ",:[{"
            depth += (char in "[{") - (char in "]}")
            if depth > JSON_DEPTH or elements > MAX_ELEMENTS:
                raise No
    return json.loads(text, object_pairs_hook=once, parse_constant=never, parse_float=finite, parse_int=short)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs) or len(pairs) > MAX_KEYS:
        raise No
    return dict(pairs)


def never(_word: str) -> None:
    raise No


def finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise No
    return value


def short(text: str) -> int:
    if (value := int(text)).bit_length() > MAX_BITS:
        raise No
    return value


SPACE = st.sampled_from(["", "", " ", "\n", "\t\r "])
STRINGS = st.sampled_from(
    [
        '""',
        '"a"',
        '"b"',
        '"\\u0061"',
        '":"',
        '"\\u003a"',
        '"\\u003A"',
        '"\\\\u003a"',
        '"[{,"',
        '"\\\\"',
        '"\\""',
        '"é"',
        '"\\u20ac"',
    ]
)
LONG = ["9" * 30, "9" * 309, str(2**64), str(-(2**1024)), str(-(2**63) - 1)]
LEAVES = STRINGS | st.sampled_from(
    ["0", "-1", "1.5", "1e3", "1e999", "null", "true", "NaN", "-Infinity", "9" * 30, "9" * 309, str(2**64)]
)


def lists(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(SPACE, st.lists(inner, max_size=4)).map(lambda made: f"[{made[0]}{(',' + made[0]).join(made[1])}]")


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(STRINGS, SPACE, inner).map(lambda made: f"{made[0]}{made[1]}:{made[2]}")
    return st.lists(pair, max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}")


TEXTS = st.recursive(LEAVES, lambda inner: lists(inner) | objects(inner), max_leaves=20)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 66), st.sampled_from(["[]", '{"a":}']))
@example('{"a":1,"a":2}', 0, "[]")
@example('{"a":1,"\\u0061":":"}', 0, "[]")
@example('{"\\u003a":1,"a":2}', 0, "[]")
@example('{"\\u003a":1,"a":2,"a":3}', 0, "[]")
@example("[]", 63, "[]")
@example("[]", 64, "[]")
def test_the_verdict_is_that_of_reading_every_character(text: str, levels: int, around: str) -> None:
    half = len(around) - 1
    data = (around[:half] * levels + text + around[half:] * levels).encode()
    try:
        expected = obviously(data)
    except No:
        with pytest.raises(msgspec.DecodeError):
            json_value(data)
    else:
        assert json_value(data) == expected
        assert json_value(memoryview(data)) == expected


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_nothing_legitimate_is_refused(value: Any, ascii_only: bool, indent: int | None) -> None:
    try:
        data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:  # half a character
        return
    assert json_value(data) == json.loads(data)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_one_kind_of_error(data: bytes) -> None:
    with suppress(msgspec.DecodeError):
        json_value(data)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 80), st.integers(0, 3))
def test_weighing_is_counting_outside_of_strings(text: str, elements: int, blocks: int) -> None:
    padding = '"' + '\\"[' * (blocks * 6000) + '\\\\"'  # quotes and escapes on every edge between two blocks
    data = f"[{padding},{text},{padding}]".encode()
    counted = sum(outside(data).count(mark) for mark in ",:[{")
    if counted > elements:
        with pytest.raises(OverLimit, match=f"more than {elements} elements"):
            weigh_json(data, elements)
    else:
        weigh_json(data, elements)


def outside(data: bytes) -> str:
    kept, quoted, escaped = [], False, False
    for char in data.decode():
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = char == "\\", char != '"'
        else:
            quoted = char == '"'
            kept.append(char)
    return "".join(kept)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[" * 65 + b"]" * 65, "deeper than 64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64 levels"),
        (b"[" + b"1," * 65_536 + b"1]", "more than 65536 elements"),
        (b'{"a":1,"b":{"c":1,"c":2}}', "same key stands twice"),
        (b'[{"a":":","a":1}]', "same key stands twice"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(4097)) + b"}", "more than 4096 keys"),
        (b"[" * 9 + b"{" + b",".join(b'"%d":0' % n for n in range(4097)) + b"}" + b"]" * 9, "more than 4096 keys"),
        (b"[NaN]", "malformed"),
        (b"[-Infinity]", "malformed"),
        (b"[1e999]", "out of range"),
        (b"9" * 4301, "out of range"),
        (b"[%d]" % (2**1024), "out of range"),
        (b"[-%d]" % (2**1024), "out of range"),
        (b"[1] 2", "trailing"),
        (b'["\xff"]', "utf-8"),
        (b'{"a":' + b'"\xff"' + b"}", "utf-8"),
        (b"[" * 9 + b'"\xff"' + b"]" * 9, "utf-8"),
        (b"", "truncated"),
    ],
)
def test_a_refusal_says_which_limit(data: bytes, says: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=says):
        json_value(data)


def test_what_is_just_within_the_limits_is_read() -> None:
    assert len(json_value(b"[" + b"1," * 65_534 + b"1]")) == 65_535
    assert json_value(b"[" * 64 + b"]" * 64)
    assert len(json_value(b"{" + b",".join(b'"%d":0' % n for n in range(4096)) + b"}")) == 4096
    assert json_value(b"-%d" % (2**1024 - 1)) == 1 - 2**1024
    assert len(json_value(b'["' + b"[{,:" * 200_000 + b'"]')[0]) == 800_000
