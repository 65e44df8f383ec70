"""How fast a line moves: as fast as it was seen to, and ever slower while it stands."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.flow.pace import BUSY_HERE, FEW, FORGET_AFTER, MEMORY, Pace


def paced(gaps: list[float], start: float = 100.0) -> tuple[Pace, float]:
    pace, now = Pace(), start
    pace.begins(now)
    for gap in gaps:
        now += gap
        pace.took(now)
    return pace, now


@given(st.floats(0.0001, 100), st.integers(1, 500))
def test_an_even_pace_is_what_it_is(gap: float, count: int) -> None:
    pace, now = paced([gap] * count)
    assert pace.each(now, 1) == pytest.approx(gap * min(1.0, count / FEW)), (
        "few say little, and nobody is refused by them"
    )


def test_bursts_are_spread_over_the_pauses_between_them() -> None:
    """Batches leave together."""
    pace, now = paced(([0.16] + [0.0] * 15) * 20)
    assert pace.each(now, 4) == pytest.approx(0.01, rel=0.2)


def test_a_random_pace_is_known_within_a_third() -> None:
    rng = random.Random(5)
    for _ in range(100):
        pace, now = paced([rng.expovariate(100) for _ in range(300)])
        assert 0.0066 < pace.each(now, 4) < 0.0134


def test_a_line_that_stands_looks_slower_and_slower() -> None:
    pace, now = paced([0.01] * MEMORY)
    looks = [pace.each(now + silence, 4) for silence in (0.0, 0.1, 1.0, 10.0)]
    assert looks == sorted(looks)
    assert looks[-1] > 0.3


def test_a_new_pace_is_learnt_in_both_directions() -> None:
    for before, after in ((1.0, 0.001), (0.001, 1.0)):
        pace, now = paced([before] * 200 + [after] * (MEMORY * 8))
        assert pace.each(now, 1) == pytest.approx(after, rel=0.5)


def test_before_much_is_known_as_many_are_thought_to_serve_as_there_are() -> None:
    pace, now = paced([])
    assert pace.each(now, 8) == 0.0
    assert pace.each(now + BUSY_HERE + 1.0, 20) == pytest.approx(1 / 20)
    assert pace.each(now + BUSY_HERE + 1.0, 0) == pytest.approx(1 / FEW)
    pace, now = paced([0.1] * FEW)
    assert pace.each(now, 8) == pytest.approx(0.1)


def test_a_burst_that_keeps_this_process_busy_is_not_held_against_the_workers() -> None:
    pace, now = paced([0.03])  # the first answer; the next are here, and nobody has had time to read them
    assert 200 * pace.each(now + BUSY_HERE, 1) < 1.0


def test_what_came_back_was_not_taken() -> None:
    pace, now = paced([0.1] * 20)
    for _ in range(10):
        pace.untook()
    assert pace.each(now, 1) == pytest.approx(0.2)
    for _ in range(50):
        pace.untook()
    assert pace.each(now, 1) > 0


def test_time_in_which_nobody_waited_does_not_count_and_a_long_one_is_a_new_beginning() -> None:
    pace, now = paced([0.1] * 20)
    pace.begins(now + FORGET_AFTER / 2)
    assert pace.each(now + FORGET_AFTER / 2, 1) == pytest.approx(0.1)
    pace.begins(now + 2 * FORGET_AFTER)
    assert pace.each(now + 2 * FORGET_AFTER, 1) == 0.0
