"""Every waiter leaves the table exactly once, whoever lets it go."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import Misuse
from ipc.flow.pending import Pending


class Waiter(NamedTuple):
    number: int
    deadline: float


def opened(count: int) -> Pending[Waiter]:
    pending: Pending[Waiter] = Pending()
    for number in range(count):
        pending.open(bytes([number]), Waiter(number, float(number)))
    return pending


def test_a_reply_finds_who_waits_for_it() -> None:
    pending = opened(3)
    assert pending.settle(b"\x01") == Waiter(1, 1.0)
    assert len(pending) == 2
    assert pending.late == 0


def test_a_reply_that_finds_nobody_is_counted() -> None:
    pending = opened(1)
    assert pending.settle(b"unknown") is None
    pending.settle(b"\x00")
    assert pending.settle(b"\x00") is None
    assert pending.late == 2


def test_leaving_is_not_being_late() -> None:
    pending = opened(1)
    assert pending.leave(b"\x00") == Waiter(0, 0.0)
    assert pending.leave(b"\x00") is None
    assert pending.late == 0


def test_one_id_waits_once() -> None:
    pending = opened(1)
    with pytest.raises(Misuse):
        pending.open(b"\x00", Waiter(9, 9.0))
    assert pending.peek(b"\x00") == Waiter(0, 0.0)
    pending.leave(b"\x00")
    pending.open(b"\x00", Waiter(9, 9.0))


def test_a_deadline_has_come_when_it_is_reached() -> None:
    pending = opened(4)
    assert pending.expire(-1.0) == []
    assert {waiter.number for waiter in pending.expire(2.0)} == {0, 1, 2}
    assert pending.expire(2.0) == []
    assert len(pending) == 1


def test_the_table_may_be_changed_while_it_is_walked_through() -> None:
    pending = opened(3)
    for waiter in pending:
        pending.leave(bytes([waiter.number]))
    assert len(pending) == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["settle", "leave", "peek"]), st.integers(0, 11)),
            st.tuples(st.just("expire"), st.integers(-1, 10)),
            st.tuples(st.just("abandon"), st.just(0)),
        )
    )
)
def test_each_waiter_comes_back_once(story: list[tuple[str, int]]) -> None:
    pending = opened(10)
    handed_back: list[int] = []
    late = 0
    for what, number in story:
        if what == "expire":
            handed_back += [waiter.number for waiter in pending.expire(float(number))]
        elif what == "abandon":
            handed_back += [waiter.number for waiter in pending.abandon()]
        else:
            waiter = getattr(pending, what)(bytes([number]))
            assert (waiter is not None) == (number < 10 and number not in handed_back)
            if waiter is not None:
                assert waiter.number == number
                if what != "peek":
                    handed_back.append(number)
            elif what == "settle":
                late += 1
        assert len(pending) == 10 - len(handed_back)
    handed_back += [waiter.number for waiter in pending.abandon()]
    assert sorted(handed_back) == list(range(10))
    assert pending.late == late
