from __future__ import annotations

import datetime as dt
import struct
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipc.decoding.limits import MAX_KEYS, MSGPACK_DEPTH, OverLimit
from ipc.decoding.msgpacked import inspect_msgpack, msgpack_value


class No(Exception):
    pass


class Obvious:
    """The same verdict by reading one value after the other, as the format's document says."""

    def __init__(self, data: bytes, elements: int) -> None:
        self.data, self.at, self.elements = data, 0, elements

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise No
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def whole(self) -> None:
        self.value(0)
        if self.at != len(self.data):
            raise No

    def value(self, depth: int) -> object:  # noqa: C901, PLR0911, PLR0912 - as many as the format has
        self.elements -= 1
        if self.elements < 0:
            raise No
        kind = self.number(1)
        match kind:
            case _ if kind < 0x80:
                return kind
            case _ if kind >= 0xE0:
                return kind - 256
            case _ if kind < 0x90:
                return self.map(kind & 15, depth + 1)
            case _ if kind < 0xA0:
                return self.list(kind & 15, depth + 1)
            case _ if kind < 0xC0:
                return "text", self.take(kind & 31)
            case 0xC0 | 0xC2 | 0xC3:
                return "constant", kind
            case 0xC4 | 0xC5 | 0xC6:
                return "bytes", self.take(self.number(1 << kind - 0xC4))
            case 0xCA | 0xCB:
                return "float", self.take(4 << kind - 0xCA)
            case 0xCC | 0xCD | 0xCE | 0xCF:
                return self.number(1 << kind - 0xCC)
            case 0xD0 | 0xD1 | 0xD2 | 0xD3:
                return self.number(1 << kind - 0xD0, signed=True)
            case 0xD9 | 0xDA | 0xDB:
                return "text", self.take(self.number(1 << kind - 0xD9))
            case 0xDC | 0xDD:
                return self.list(self.number(2 << kind - 0xDC), depth + 1)
            case 0xDE | 0xDF:
                return self.map(self.number(2 << kind - 0xDE), depth + 1)
            case 0xD6 | 0xD7 if self.take(1) == b"\xff":
                return "time", self.take(4 << kind - 0xD6)
            case 0xC7 if self.take(2) == b"\x0c\xff":
                return "time", self.take(12)
        raise No

    def list(self, size: int, depth: int) -> object:
        if depth > MSGPACK_DEPTH:
            raise No
        for _ in range(size):
            self.value(depth)
        return "list", None

    def map(self, size: int, depth: int) -> object:
        if depth > MSGPACK_DEPTH or size > MAX_KEYS:
            raise No
        seen: list[object] = []
        for _ in range(size):
            key = self.value(depth)
            if not isinstance(key, int) and key[0] != "text":
                raise No
            if key in seen:
                raise No
            seen.append(key)
            self.value(depth)
        return "map", None


def agrees(data: bytes, elements: int = 65_536) -> None:
    try:
        Obvious(data, elements).whole()
    except No:
        with pytest.raises(msgspec.DecodeError):
            inspect_msgpack(data, elements)
    else:
        inspect_msgpack(data, elements)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(dt.UTC)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), inner),
)


@settings(deadline=None)
@given(VALUES)
def test_nothing_legitimate_is_refused(value: Any) -> None:
    try:
        data = msgspec.msgpack.encode(value)
    except UnicodeEncodeError:  # half a character
        return
    inspect_msgpack(data)
    assert repr(msgpack_value(data)) == repr(msgspec.msgpack.decode(data))


ONE = b"\xd3" + struct.pack(">q", 1)
KEYS = st.sampled_from([b"\xa1a", b"\xd9\x01a", b"\xa1b", b"\x01", b"\xcc\x01", ONE, b"\xc4\x01a", b"\x90"])
SCALARS = [b"\xc0", b"\xc1", b"\xca" + bytes(4), b"\xcb" + bytes(8), b"\xff", b"\xd0\xff", b"\xda\x00\x03abc"]
TIMES = [b"\xd6\xff" + bytes(4), b"\xd7\xff" + bytes(8), b"\xc7\x0c\xff" + bytes(12)]
EXTENSIONS = [b"\xc7\x01\xff\x00", b"\xd4\x05\x00", b"\xd6\x01" + bytes(4)]
LEAVES = KEYS | st.sampled_from([*SCALARS, *TIMES, *EXTENSIONS])


def containers(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    rows = st.lists(inner, max_size=4)
    maps = st.lists(st.tuples(KEYS, inner).map(b"".join), max_size=4)
    return st.one_of(
        rows.map(lambda items: bytes([0x90 | len(items)]) + b"".join(items)),
        rows.map(lambda items: b"\xdc" + struct.pack(">H", len(items)) + b"".join(items)),
        maps.map(lambda items: bytes([0x80 | len(items)]) + b"".join(items)),
        maps.map(lambda items: b"\xdf" + struct.pack(">I", len(items)) + b"".join(items)),
    )


DOCUMENTS = st.recursive(LEAVES, containers, max_leaves=20)


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 34), st.sampled_from([b"\x91", b"\x81\xa1a"]), st.integers(1, 40))
@example(b"\x82\xa1a\x01\xa1a\x02", 0, b"\x91", 40)
@example(b"\x82\xa1a\x01\xd9\x01a\x02", 0, b"\x91", 40)
@example(b"\x82\x01\x01\xcc\x01\x02", 0, b"\x91", 40)
@example(b"\x82\xca\x00\x00\x00\x00\x01", 0, b"\x91", 40)
@example(b"\x90", 31, b"\x91", 40)
@example(b"\x90", 32, b"\x91", 40)
def test_the_verdict_is_that_of_reading_every_value(data: bytes, levels: int, around: bytes, elements: int) -> None:
    agrees(around * levels + data)
    agrees(around * levels + data + b"\xc6" + (70_000).to_bytes(4, "big") + bytes(70_000))
    long = b"\x92" + data + b"\xc6" + (70_000).to_bytes(4, "big") + bytes(70_000)  # too long for the quick way
    agrees(long, elements)


@settings(deadline=None)
@given(VALUES, st.data())
def test_cut_bent_and_lying_documents_have_the_same_verdict_too(value: Any, data: st.DataObject) -> None:
    try:
        whole = bytearray(msgspec.msgpack.encode(value))
    except UnicodeEncodeError:
        return
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=5))
    agrees(bytes(whole))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_one_kind_of_error(data: bytes) -> None:
    agrees(data)
    with suppress(msgspec.DecodeError):
        msgpack_value(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x91" * 33 + b"\x01", "deeper than 32 levels"),
        (b"\x81\xa1a" * 33 + b"\x01", "deeper than 32 levels"),
        (b"\xdd\x00\x01\x00\x00" + b"\x80" * 65_536, "more than 65536 elements"),
        (b"\xdd\xff\xff\xff\xff", "more than 65536 elements"),
        (b"\xde\x10\x01" + b"".join(b"\xcd%b\x01" % struct.pack(">H", n) for n in range(4097)), "more than 4096 keys"),
        (b"\x82\xa1a\x01\xa1a\x02", "same key stands twice"),
        (b"\x82\xa1a\x01\xd9\x01a\x02", "same key stands twice"),
        (b"\x81\xc4\x01a\x01", "a text or a whole number"),
        (b"\x81\x90\x01", "a text or a whole number"),
        (b"\x81\xcb" + bytes(8) + b"\x01", "a text or a whole number"),
        (b"\xd4\x05\x00", "extension type"),
        (b"\xc1", "extension type"),
        (b"\xc6\xff\xff\xff\xff", "truncated"),
        (b"\x92\x01", "truncated"),
        (b"", "truncated"),
        (b"\x01\x02", "trailing"),
    ],
)
def test_a_refusal_says_which_limit(data: bytes, says: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=says):
        inspect_msgpack(data)
    with pytest.raises(msgspec.DecodeError):
        msgpack_value(data)


def test_what_is_just_within_the_limits_is_read() -> None:
    assert len(msgpack_value(msgspec.msgpack.encode([1.5] * 65_535))) == 65_535
    assert msgpack_value(b"\x91" * 31 + b"\x90")
    assert len(msgpack_value(msgspec.msgpack.encode({f"{n}": n for n in range(4096)}))) == 4096
    assert msgpack_value(msgspec.msgpack.encode(bytes(1_000_000)))


def test_text_that_is_no_text_is_refused_where_it_is_read() -> None:
    with pytest.raises(msgspec.DecodeError, match="utf-8"):
        msgpack_value(b"\xa1\xff")


def test_chosen_whole_numbers_do_not_make_a_slow_table() -> None:
    """Texts are hashed with a secret, whole numbers are not; but of 64 bits too few have to share a place."""
    chosen = {n << 40: 0 for n in range(4096)}
    data = msgspec.msgpack.encode(chosen)
    probes = sum(1 for key in chosen if hash(key) % 8192 == 0)
    assert probes == 4096  # all want the same place at first
    assert msgpack_value(data) == chosen


def test_the_error_is_one_that_all_readers_expect() -> None:
    assert issubclass(OverLimit, msgspec.DecodeError)
