"""Who is tried again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import LinkLost, OutcomeUnknown, Rejected, WorkerDied, WorkerGone
from ipc.flow.fate import Fate
from ipc.flow.retry import ATTEMPTS, SAVED, SHARE, RetryBudget, verdict


@dataclass
class Call:
    idempotent: bool = False
    attempts: int = 0
    begun: bool = False


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_was_not_begun_is_tried_again_once(idempotent: bool) -> None:
    call, empty = Call(idempotent), RetryBudget()
    while empty.spend():
        pass
    assert verdict(call, Fate.NOT_BEGUN, "cpu-0#1", empty) is None
    assert isinstance(verdict(call, Fate.NOT_BEGUN, "cpu-0#1", empty), WorkerGone)


@pytest.mark.parametrize(
    ("fate", "error"), [(Fate.BEGUN, WorkerDied), (Fate.SUSPECT, WorkerDied), (Fate.UNKNOWN, LinkLost)]
)
def test_what_was_begun_is_not(fate: Fate, error: type[Exception]) -> None:
    assert isinstance(verdict(Call(), fate, "cpu-0#1", RetryBudget()), error)
    assert verdict(Call(idempotent=True), fate, "cpu-0#1", RetryBudget()) is None


@given(st.booleans(), st.lists(st.sampled_from(Fate), min_size=1, max_size=5))
def test_no_verdict_lies_and_none_is_tried_for_ever(idempotent: bool, fates: list[Fate]) -> None:
    call, budget = Call(idempotent), RetryBudget()
    maybe_begun = 0
    for number, fate in enumerate(fates, 1):
        maybe_begun += fate is not Fate.NOT_BEGUN
        told = verdict(call, fate, "cpu-0#1", budget)
        if told is None:
            assert number < ATTEMPTS
            assert idempotent or not maybe_begun
            continue
        assert isinstance(told, Rejected) == (maybe_begun == 0)
        assert isinstance(told, OutcomeUnknown) == (maybe_begun > 0)
        return
    assert len(fates) < ATTEMPTS


def test_retries_are_a_part_of_all_calls() -> None:
    budget = RetryBudget()
    spent = 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert spent <= SAVED + 1000 * SHARE
    assert spent >= 1000 * SHARE
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == SAVED
