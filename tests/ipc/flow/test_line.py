"""Calls that wait: by class and in order, within the bound, and nobody for ever."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.flow.line import OTHERS_FIRST, STRIDES, Line
from ipc.priority import HIGH, LOW, NORMAL

CLASSES = (HIGH, NORMAL, LOW)


@dataclass(eq=False)
class Call:
    priority: int = NORMAL
    size: int = 1
    left: bool = False


def line(max_calls: int = 1000, max_bytes: int = 1000) -> Line[Call]:
    return Line(max_calls, max_bytes)


def filled(made: Line[Call], *priorities: int) -> list[Call]:
    calls = [Call(priority) for priority in priorities]
    for call in calls:
        made.append(call, 0.0)
    return calls


def test_while_all_wait_the_weights_hold() -> None:
    made = line()
    filled(made, *CLASSES * 300)
    taken = [made.take(0.0).priority for _ in range(210)]
    counts = [taken.count(priority) for priority in CLASSES]
    assert counts == pytest.approx([160, 40, 10], abs=3)


def test_a_class_alone_has_everything() -> None:
    made = line()
    calls = filled(made, *[LOW] * 5)
    assert [made.take(0.0) for _ in range(5)] == calls
    assert made.take(0.0) is None


def test_a_class_that_was_away_has_saved_nothing_up() -> None:
    made = line()
    filled(made, *[HIGH] * 500)
    for _ in range(400):
        made.take(0.0)
    filled(made, *[LOW] * 50)
    taken = [made.take(0.0).priority for _ in range(34)]
    assert taken.count(LOW) <= 2
    assert LOW in taken


def test_one_that_is_back_goes_in_front_of_its_own() -> None:
    made = line()
    first, second, high = filled(made, NORMAL, NORMAL, HIGH)
    assert [made.take(0.0), made.take(0.0)] == [high, first]
    made.prepend(first, 0.0)
    assert [made.take(0.0), made.take(0.0)] == [first, second]


def test_the_youngest_of_the_lowest_makes_room_and_never_an_equal() -> None:
    made = line(max_calls=4)
    low, lower, normal, high = filled(made, LOW, LOW, NORMAL, HIGH)
    assert made.make_room(Call(LOW)) == []
    assert made.make_room(Call(NORMAL)) == [lower]
    made.append(Call(NORMAL), 0.0)
    assert made.make_room(Call(HIGH)) == [low]
    made.append(Call(HIGH), 0.0)
    assert made.make_room(Call(NORMAL)) == []
    assert set(made) >= {normal, high}


def test_nobody_goes_where_that_would_not_be_enough() -> None:
    made = line(max_bytes=10)
    small = Call(LOW, 4)
    made.append(small, 0.0)
    made.append(Call(NORMAL, 6), 0.0)
    assert made.make_room(Call(HIGH, 11)) == []
    assert made.make_room(Call(NORMAL, 5)) == []
    assert made.make_room(Call(NORMAL, 4)) == [small]
    assert made.has_room(4)


def test_the_expected_wait_grows_with_those_in_front_and_with_silence() -> None:
    made = line()
    filled(made, *[NORMAL] * 30)
    for number in range(1, 21):
        made.take(number * 0.1)
    assert made.expected(NORMAL, 2.0, 4) == pytest.approx(11 * 0.1)
    assert made.expected(NORMAL, 3.0, 4) > 11 * 0.12
    assert made.expected(LOW, 2.0, 4) == 0.0


def test_a_lower_class_expects_to_wait_for_those_that_go_before_it() -> None:
    made = line()
    filled(made, *[HIGH] * 200, *[LOW] * 20)
    for number in range(1, 101):
        made.take(number * 0.01)
    assert made.expected(LOW, 1.0, 4) / 16 > 10 * made.expected(HIGH, 1.0, 4) / 107


class Model:
    """A line, and what should be in it."""

    def __init__(self) -> None:
        self.made = line(max_calls=12, max_bytes=30)
        self.waiting: list[list[Call]] = [[], [], []]
        self.out: list[Call] = []

    def append(self, priority: int, size: int) -> None:
        call = Call(priority, size)
        if not self.made.has_room(size):
            for gone in self.made.make_room(call):
                assert gone.priority == max(p for p in CLASSES if self.waiting[p]) > priority
                assert self.waiting[gone.priority].pop() is gone
        if self.made.has_room(size):
            self.made.append(call, 0.0)
            self.waiting[priority].append(call)
            assert self.made.calls <= 12
            assert self.made.bytes <= 30

    def take(self) -> None:
        call = self.made.take(0.0)
        assert (call is None) == (not any(self.waiting))
        if call is not None:
            assert self.waiting[call.priority].pop(0) is call
            self.out.append(call)

    def back(self, index: int) -> None:
        if self.out:
            call = self.out.pop(index % len(self.out))
            self.made.prepend(call, 0.0)
            self.waiting[call.priority].insert(0, call)

    def withdraw(self, index: int) -> None:
        if every := [call for each in self.waiting for call in each]:
            call = every[index % len(every)]
            self.made.withdraw(call)
            self.waiting[call.priority].remove(call)

    def check(self) -> None:
        every = [call for each in self.waiting for call in each]
        assert (self.made.calls, self.made.bytes) == (len(every), sum(call.size for call in every))
        assert list(self.made) == every
        for priority in CLASSES:
            assert self.made.first(priority) is next(iter(self.waiting[priority]), None)


STEPS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from(CLASSES), st.integers(0, 5)),
    st.tuples(st.just("take")),
    st.tuples(st.just("back"), st.integers(0, 5)),
    st.tuples(st.just("withdraw"), st.integers(0, 50)),
)


@given(st.lists(STEPS, max_size=200))
def test_books_order_and_bounds_hold_whatever_happens(steps: list[tuple]) -> None:
    model = Model()
    for name, *args in steps:
        getattr(model, name)(*args)
        model.check()


@given(st.lists(st.one_of(st.sampled_from(CLASSES), st.none()), max_size=400))
def test_no_class_waits_for_more_calls_of_others_than_is_said(steps: list[int | None]) -> None:
    """None takes one."""
    made = line()
    passed_by = [0, 0, 0]
    for step in steps:
        if step is not None:
            if made.first(step) is None:
                passed_by[step] = 0
            made.append(Call(step), 0.0)
        elif (call := made.take(0.0)) is not None:
            passed_by[call.priority] = 0
            for priority in CLASSES:
                if priority != call.priority and made.first(priority) is not None:
                    passed_by[priority] += 1
                    assert passed_by[priority] <= OTHERS_FIRST[priority]


def test_the_bound_is_no_larger_than_it_has_to_be() -> None:
    worst = [0, 0, 0]
    for start in range(40):
        made = line()
        filled(made, *[HIGH] * 300, *[NORMAL] * 300)
        for _ in range(start):
            made.take(0.0)
        filled(made, *[LOW] * 300)
        taken = [made.take(0.0).priority for _ in range(300)]
        for priority in CLASSES:
            at = [-1] + [index for index, each in enumerate(taken) if each == priority]
            worst[priority] = max(worst[priority], *(after - before - 1 for before, after in pairwise(at)))
    assert worst[LOW] >= OTHERS_FIRST[LOW] - 2
    assert len(STRIDES) == len(OTHERS_FIRST) == len(CLASSES)
