"""What stands for a request, and what is refused by it."""

from __future__ import annotations

import msgspec
import pytest

from ipc.errors import Quarantined
from ipc.messages.calls import RequestMeta, encode_meta
from ipc.quarantine import MAX_MARKS, Quarantine, mark_of


def meta(node: str = "shop.pay", request_id: str = "r", params: bytes = b"\x80", encoding: int = 2) -> bytes:
    return encode_meta(RequestMeta(node, request_id, "t", "web-0#1", encoding, 2, msgspec.Raw(params)))


def test_the_same_request_has_the_same_mark_whoever_asks() -> None:
    assert mark_of(meta(request_id="one"), b"body") == mark_of(meta(request_id="two"), memoryview(b"body"))


def test_any_other_has_another() -> None:
    marks = {
        mark_of(meta(), b"body"),
        mark_of(meta(), b"bodY"),
        mark_of(meta("shop.pa"), b"ybody"),
        mark_of(meta(params=b"\x81\xa1a\x01"), b"body"),
        mark_of(meta(encoding=1), b"body"),
    }
    assert len(marks) == 5


def test_what_is_in_it_is_refused_until_its_time_is_over() -> None:
    quarantine = Quarantine()
    quarantine.add(mark_of(meta(), b"body"), 60.0)
    with pytest.raises(Quarantined):
        quarantine.check(meta(), b"body", 59.0)
    quarantine.check(meta(), b"other", 59.0)
    quarantine.check(meta(), b"body", 60.0)
    assert not quarantine


def test_it_remembers_so_many_and_no_more() -> None:
    quarantine = Quarantine()
    for number in range(MAX_MARKS + 10):
        quarantine.add(number.to_bytes(16, "big"), 60.0)
    assert len(quarantine) == MAX_MARKS
