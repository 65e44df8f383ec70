"""Times in buckets: nothing is lost, order is kept, and what comes out is near what went in."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ipc.histogram import BUCKETS, MOST, bucket, lower, merged, quantile, trimmed

TIMES = st.floats(0.0, MOST)


def counted(times: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for time in times:
        counts[bucket(time)] += 1
    return counts


@given(TIMES)
def test_every_time_is_within_its_bucket_and_buckets_are_narrow(time: float) -> None:
    number = bucket(time)
    assert lower(number) <= time + 1e-9
    assert time < lower(number + 1) + 1e-9
    assert lower(number + 1) - lower(number) <= max(1e-6, (lower(number) + 4e-6) / 4) * 1.000001


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_time_is_beyond_the_buckets(time: float) -> None:
    assert 0 <= bucket(time) < BUCKETS


def test_buckets_follow_one_another() -> None:
    assert lower(0) == 0.0
    for number in range(BUCKETS):
        assert lower(number) < lower(number + 1)
        assert bucket(lower(number) + 1e-7) == number


@given(st.lists(TIMES, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_a_quarter_off_at_most(times: list[float], part: float) -> None:
    exact = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    assert abs(quantile(counted(times), part) - exact) <= 0.2501 * exact + 2e-6


@given(st.lists(st.lists(TIMES, max_size=20), max_size=5))
def test_apart_and_together_is_the_same(parts: list[list[float]]) -> None:
    together = counted([time for part in parts for time in part])
    assert merged(trimmed(counted(part)) for part in parts) == together
    assert sum(together) == sum(map(len, parts))


def test_of_nothing_the_quantile_is_nothing() -> None:
    assert quantile([0] * BUCKETS, 0.99) == quantile((), 0.5) == 0.0
    assert trimmed([0] * BUCKETS) == ()
