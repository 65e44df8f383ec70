"""What stands for a request, and what is refused by it."""

from __future__ import annotations

import msgspec
import pytest

from ipc import quarantine as module
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
    quarantine.add("shop.pay", mark_of(meta(), b"body"), 60.0)
    with pytest.raises(Quarantined):
        quarantine.check("shop.pay", meta(), b"body", 59.0)
    quarantine.check("shop.pay", meta(), b"other", 59.0)
    quarantine.check("shop.pay", meta(), b"body", 60.0)
    assert not quarantine


def test_it_remembers_so_many_and_no_more() -> None:
    quarantine = Quarantine()
    for number in range(MAX_MARKS + 10):
        quarantine.add("shop.pay", number.to_bytes(16, "big"), 60.0)
    assert len(quarantine) == MAX_MARKS


def test_what_is_like_nothing_in_it_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine()
    quarantine.add("shop.pay", b"1" * 16, 60.0)
    quarantine.add("shop.ship", b"2" * 16, 70.0)
    looked: list[bytes] = []
    monkeypatch.setattr(module, "mark_of", lambda meta, _body: looked.append(meta) or b"")
    quarantine.check("shop.look", b"another node", b"", 0.0)
    quarantine.check("shop.pay", b"a node that is in it", b"", 0.0)
    quarantine.check("shop.ship", b"so is this", b"", 65.0)
    assert len(quarantine) == 1
    quarantine.check("shop.pay", b"one that is out again", b"", 65.0)
    assert looked == [b"a node that is in it", b"so is this"]


def test_who_does_it_again_stays_longer_and_leaves_after_those_that_did_not() -> None:
    quarantine = Quarantine()
    mark, body = mark_of(meta(), b"body"), b"body"
    quarantine.add("shop.pay", mark, 60.0)
    quarantine.add("shop.pay", b"2" * 16, 70.0)
    quarantine.add("shop.pay", mark, 80.0)
    with pytest.raises(Quarantined):
        quarantine.check("shop.pay", meta(), body, 75.0)
    assert len(quarantine) == 1
    quarantine.check("shop.pay", meta(), body, 80.0)
    assert not quarantine
