"""What is told of a worker's life."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from supervisor import events, life
from supervisor.life import Child, Spec, State
from supervisor.policy import RestartPolicy
from supervisor.standing import HOPELESS
from supervisor.telling import told

if TYPE_CHECKING:
    from supervisor.policy import Strategy

UP = Child(Spec(), state=State.UP, wanted=True)


def kinds(before: Child, now: Child, event: life.Event, *, begins: bool = False) -> list[events.Event]:
    return list(told("cpu-0#1", before, now, event, took=1.5, after=0.2, words=("last",), begins=begins))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (UP, False),
        (replace(UP, wanted=False), True),
        (replace(UP, state=State.DRAINING), True),
        (replace(UP, state=State.KILLING, along="ended with cpu-1#1: x"), True),
    ],
)
def test_an_end_is_expected_of_who_was_told_or_said_so(before: Child, expected: bool) -> None:
    now = replace(UP, state=State.WAITING, reason="exited with code 0")
    assert kinds(before, now, life.Exited("x")) == [
        events.WorkerExited("cpu-0#1", "exited with code 0", expected, "", ("last",)),
        events.WorkerRestarting("cpu-0#1", 0.2),
    ]


@pytest.mark.parametrize(
    ("strategy", "row", "along", "reason"),
    [
        ("one_for_one", 1, "", ""),
        ("one_for_all", 0, "", ""),  # that was no crash
        ("one_for_all", 1, "", "all that end with it have ended"),
        ("rest_for_one", 1, "ended with cpu-1#1: x", "all that end with it have ended"),
    ],
)
def test_who_starts_with_others_says_that_it_waits_for_them(
    strategy: Strategy, row: int, along: str, reason: str
) -> None:
    before = replace(UP, spec=Spec(policy=RestartPolicy(strategy=strategy)), along=along)
    *_, restarting = kinds(before, replace(before, state=State.WAITING, row=row), life.Exited("x"))
    assert restarting == events.WorkerRestarting("cpu-0#1", 0.2, reason)


def test_a_wait_for_others_is_no_number_of_seconds() -> None:
    alone = events.WorkerRestarting("cpu-0#1", 0.2)
    with_others = events.WorkerRestarting("cpu-0#1", 0.2, "all that end with it have ended")
    assert str(alone) == "cpu-0#1: starts again in 0.2 s"
    told_of = "cpu-0#1: starts again once all that end with it have ended, and not before 0.2 s are over"
    assert str(with_others) == told_of


@pytest.mark.parametrize(("row", "incurable", "again"), [(1, False, True), (1, True, False), (HOPELESS, False, False)])
def test_who_may_never_start_again_does_not_say_that_it_will(row: int, incurable: bool, again: bool) -> None:
    """The first start goes on without it, or is over: nobody knows yet. Nor does anybody end with it there."""
    before = replace(UP, state=State.STARTING, spec=Spec(policy=RestartPolicy(strategy="one_for_all")))
    now = replace(before, state=State.WAITING, row=row, incurable=incurable)
    _, *restarting = kinds(before, now, life.Exited("x"), begins=True)
    assert restarting == [events.WorkerRestarting("cpu-0#1", 0.2)] * again


def test_each_state_is_told_once() -> None:
    starting, draining = replace(UP, state=State.STARTING), replace(UP, state=State.DRAINING)
    assert kinds(starting, UP, life.Ready()) == [events.WorkerReady("cpu-0#1", 1.5)]
    assert kinds(UP, draining, life.Stop()) == [events.WorkerDraining("cpu-0#1")]
    assert kinds(draining, draining, life.Stop()) == []
    overrun = replace(UP, state=State.OVERRUN)
    assert kinds(overrun, draining, life.TimerRang(recovered=True)) == [events.WorkerDraining("cpu-0#1")]
    leaving = replace(draining, leaving=True)
    assert kinds(overrun, leaving, life.TimerRang(recovered=True)) == [], "it was told before"


def test_who_is_given_up_while_it_waits_is_told_of_too() -> None:
    waiting = replace(UP, state=State.WAITING)
    failed = replace(UP, state=State.FAILED, reason="ended with cpu-1#1: x", row=4)
    told_of = [events.WorkerFailed("cpu-0#1", "ended with cpu-1#1: x", 4)]
    assert kinds(waiting, failed, life.TakenAlong("x", None, 4)) == told_of
    assert kinds(failed, failed, life.TakenAlong("x", None, 4)) == []
