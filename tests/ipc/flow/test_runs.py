"""How long a node takes: learnt from every answer, swayed by none, and not believed for ever."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.flow.runs import TRUST_FOR, TRUST_RUNS, Runs


def learnt(times: list[float]) -> Runs:
    runs = Runs(times[0], 0.0)
    for took in times[1:]:
        runs.learn(took, 0.0)
    return runs


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50))
def test_it_lies_within_what_was_seen(times: list[float]) -> None:
    runs = learnt(times)
    assert min(times) * 0.999 <= runs.usually(0.0) <= max(times) * 1.001
    assert runs.nearly_always(0.0) >= runs.usually(0.0)


def test_calls_that_take_alike_are_known_to() -> None:
    runs = learnt([0.1] * 40)
    assert runs.usually(0.0) == pytest.approx(0.1)
    assert runs.nearly_always(0.0) == pytest.approx(0.1, rel=0.01)


def test_what_varies_is_given_more_time() -> None:
    rng = random.Random(3)
    runs = learnt([rng.expovariate(10) for _ in range(500)])
    assert 0.05 < runs.usually(0.0) < 0.2
    assert runs.nearly_always(0.0) > 2 * runs.usually(0.0)


def test_a_single_long_call_says_little_and_many_are_believed() -> None:
    runs = learnt([0.002] * 100)
    runs.learn(10.0, 0.0)
    assert runs.usually(0.0) < 0.004
    for _ in range(40):
        runs.learn(10.0, 0.0)
    assert runs.usually(0.0) > 5


def test_what_was_long_ago_is_not_believed_and_then_replaced() -> None:
    runs = learnt([0.5] * 10)
    assert runs.usually(TRUST_FOR) == pytest.approx(0.5)
    assert (runs.usually(TRUST_FOR + 0.1), runs.nearly_always(TRUST_FOR + 0.1)) == (0.0, 0.0)
    runs.learn(0.01, TRUST_FOR + 1)
    assert runs.usually(TRUST_FOR + 1) == pytest.approx(0.01)


def test_long_calls_are_believed_until_several_more_could_have_been_answered() -> None:
    runs = learnt([60.0] * 10)
    assert runs.usually(60.0 * TRUST_RUNS) == pytest.approx(60)
    assert runs.usually(60.0 * TRUST_RUNS + 1) == 0.0
