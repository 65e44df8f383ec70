"""On a stream exactly the next number is new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.wire.frame import Refusal
from ipc.wire.replay import LAST, StrictCounter


@given(st.lists(st.integers(0, 12), max_size=60))
def test_each_number_is_accepted_once_and_in_order(offered: list[int]) -> None:
    """Against somebody who remembers everything."""
    counter, accepted = StrictCounter(), []
    for number in offered:
        reason = counter.check(number)
        assert counter.check(number) is reason  # looking changes nothing
        if number in accepted:
            assert reason is Refusal.REPLAY
        elif number == len(accepted):
            assert reason is None
            counter.commit(number)
            accepted.append(number)
        else:
            assert reason is Refusal.GAP
    assert accepted == list(range(len(accepted)))


def test_numbers_end() -> None:
    counter = StrictCounter()
    counter.commit(LAST - 2)
    assert counter.check(LAST - 1) is None
    counter.commit(LAST - 1)
    assert counter.check(LAST) is Refusal.EXHAUSTED


@pytest.mark.parametrize("number", [-1, -LAST])
def test_nothing_comes_before_zero(number: int) -> None:
    assert StrictCounter().check(number) is not None
