"""When a child that died is started again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy import GiveUp, Restart, RestartPolicy

POLICIES = st.builds(
    RestartPolicy,
    limit=st.integers(0, 12),
    stable=st.floats(0.1, 1000),
    base=st.floats(0.01, 1),
    cap=st.floats(1, 60),
    jitter=st.floats(0, 0.5),
)
DICE = st.floats(0, 1, exclude_max=True)


def test_a_wait_doubles_up_to_the_cap() -> None:
    policy = RestartPolicy()
    decisions = [policy.decide(row, 0.0, 0.5) for row in range(policy.limit)]
    waits = [decision.after for decision in decisions if isinstance(decision, Restart)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 30.0
    assert len(waits) == policy.limit


@given(POLICIES, DICE)
def test_a_row_of_crashes_ends(policy: RestartPolicy, dice: float) -> None:
    row = 0
    for _ in range(policy.limit):
        decision = policy.decide(row, 0.0, dice)
        assert isinstance(decision, Restart)
        assert decision.row == row + 1
        row = decision.row
    assert policy.decide(row, 0.0, dice) == GiveUp(policy.limit + 1)


@given(POLICIES, st.integers(0, 20), DICE)
def test_a_long_life_begins_a_new_row(policy: RestartPolicy, row: int, dice: float) -> None:
    decision = policy.decide(row, policy.stable, dice)
    assert decision == policy.decide(0, 0.0, dice)


@given(POLICIES, st.integers(0, 5000), DICE)
def test_the_wait_is_within_its_bounds(policy: RestartPolicy, row: int, dice: float) -> None:
    decision = RestartPolicy(10_000, policy.stable, policy.base, policy.cap, policy.jitter).decide(row, 0.0, dice)
    assert isinstance(decision, Restart)
    middle = min(policy.cap, policy.base * 2.0 ** min(row, 64))
    slack = policy.jitter + 1e-9
    assert middle * (1 - slack) <= decision.after <= middle * (1 + slack)


@given(POLICIES)
def test_the_dice_spread_the_waits(policy: RestartPolicy) -> None:
    waits = [
        decision.after
        for dice in (0.0, 0.25, 0.5, 0.75)
        if isinstance(decision := RestartPolicy(jitter=0.2).decide(3, 0.0, dice), Restart)
    ]
    assert all(low < high for low, high in pairwise(waits))
    assert policy.decide(0, 0.0, 0.3) == policy.decide(0, 0.0, 0.3)
