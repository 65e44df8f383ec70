"""When a group grows and shrinks, played with a simulated queue: loads that stay, that step, that come in bursts."""

from __future__ import annotations

import heapq
import random
from collections import deque
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.scaling import (
    DOWN_AFTER,
    MAX_DOWN_AFTER,
    UP_AFTER,
    UP_COOLDOWN,
    Course,
    Look,
    Scaling,
    decide,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK, SPAN, STEADY = 0.5, 3.0, 15.0
STARTING = 1.5
"""How long a simulated worker takes until it serves, seconds."""


def simulated(
    scaling: Scaling, load: Callable[[float], float], *, service: float, until: float, seed: int
) -> list[tuple[float, int]]:
    """Calls come by chance, `load(t)` workers' work of them, each of about `service` seconds; sizes over time."""
    dice = random.Random(seed)
    size, course, sizes = scaling.least, Course(), [(0.0, scaling.least)]
    line: deque[float] = deque()
    ends: list[float] = []  # of what runs now
    waits: deque[tuple[float, float]] = deque()
    busy: deque[float] = deque(maxlen=int(STEADY / LOOK))
    serving, joins = size, 0.0
    now, coming = 0.0, 0.0
    look_at = LOOK
    while now < until:
        rate = load(now) / service
        if coming <= now and rate > 0:
            line.append(now)
            coming = now + dice.expovariate(rate)
        now = min([look_at, *ends[:1], coming if rate > 0 else look_at])
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        if serving != size and (size < serving or now >= joins):
            serving = size
        while line and len(ends) < serving:
            waits.append((now, now - (came := line.popleft())))
            del came
            heapq.heappush(ends, now + service * dice.uniform(0.5, 1.5))
        if now < look_at:
            continue
        look_at += LOOK
        coming = max(coming, now) if rate <= 0 else coming
        busy.append(min(1.0, len(ends) / serving))
        while waits and waits[0][0] < now - SPAN:
            waits.popleft()
        seen = sorted(wait for _, wait in waits)
        wait = max(seen[ceil(0.9 * len(seen)) - 1] if seen else 0.0, now - line[0] if line else 0.0)
        lately = list(busy)[-int(SPAN / LOOK) :]
        look = Look(size, wait, sum(lately) / len(lately), sum(busy) / len(busy))
        wanted, course = decide(scaling, course, look, now)
        if wanted != size:
            if wanted > size:
                joins = now + STARTING
            size = wanted
            sizes.append((now, size))
    return sizes


def turns(sizes: list[tuple[float, int]]) -> int:
    """How often it went the other way than before."""
    ways = [(after > before) for (_, before), (_, after) in pairwise(sizes)]
    return sum(one != other for one, other in pairwise(ways))


def within(scaling: Scaling, sizes: list[tuple[float, int]]) -> bool:
    return all(scaling.least <= size <= scaling.most for _, size in sizes)


@settings(max_examples=8, deadline=None)
@given(
    load=st.floats(0.1, 6.0), service=st.sampled_from([0.05, 0.2, 1.0]), seed=st.integers(0, 2**32), most=st.just(12)
)
def test_a_load_that_stays_is_not_followed_by_sizes_that_do_not(
    load: float, service: float, seed: int, most: int
) -> None:
    scaling = Scaling(1, most, 0.05)
    sizes = simulated(scaling, lambda _t: load, service=service, until=900.0, seed=seed)
    assert within(scaling, sizes)
    assert turns(sizes) <= 12  # doubled waits: few in a quarter of an hour, and fewer in the next
    assert turns([(time, size) for time, size in sizes if time > 450.0]) <= 6
    if load > 1.2:
        assert max(size for _, size in sizes) > load  # less would never be enough


@settings(max_examples=6, deadline=None)
@given(service=st.sampled_from([0.05, 0.3]), seed=st.integers(0, 2**32))
def test_a_step_is_answered_within_seconds_and_its_end_within_minutes(service: float, seed: int) -> None:
    scaling = Scaling(1, 8, 0.05)
    sizes = simulated(scaling, lambda t: 3.0 if 60.0 <= t < 180.0 else 0.0, service=service, until=900.0, seed=seed)
    assert within(scaling, sizes)
    assert any(size > 3 for time, size in sizes if time < 60.0 + 4 * (UP_COOLDOWN + UP_AFTER + STARTING))
    assert sizes[-1][1] == 1
    assert turns(sizes) <= 6


@settings(max_examples=6, deadline=None)
@given(every=st.floats(4.0, 120.0), share=st.floats(0.05, 0.5), seed=st.integers(0, 2**32))
def test_bursts_move_it_seldom(every: float, share: float, seed: int) -> None:
    scaling = Scaling(1, 8, 0.05)
    sizes = simulated(
        scaling, lambda t: 4.0 if t % every < share * every else 0.0, service=0.1, until=1200.0, seed=seed
    )
    assert within(scaling, sizes)
    assert turns(sizes) <= 2 * 1200.0 / DOWN_AFTER / 2


STEPS = st.lists(
    st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 100.0), st.floats(0.0, 1.0), st.integers(1, 40)), max_size=80
)


@given(STEPS, st.integers(1, 8), st.integers(0, 8), st.floats(0.001, 10.0))
def test_whatever_is_seen_it_stays_in_bounds_moves_as_promised_and_rests_between(
    seen: list[tuple[float, float, float, int]], least: int, more: int, target: float
) -> None:
    scaling, course, now, changed = Scaling(least, least + more, target), Course(), 100.0, None
    size = least
    for pause, wait, busy, other in seen:
        now += pause
        if other > 38:  # somebody else has changed it
            size = other
        wanted, course = decide(scaling, course, Look(size, wait, busy, busy), now)
        assert least <= wanted <= least + more
        assert DOWN_AFTER <= course.down_after <= MAX_DOWN_AFTER
        if least <= size <= least + more and wanted != size:
            assert wanted <= 2 * size
            assert wanted >= size - 1
            if changed is not None:
                assert now - changed >= (UP_COOLDOWN if wanted > size else DOWN_AFTER)
        if wanted != size:
            changed = now
        size = wanted


def test_idle_it_returns_to_the_least_one_by_one() -> None:
    scaling, course, size, now = Scaling(2, 8, 0.05), Course(), 8, 0.0
    sizes = []
    for _ in range(1000):
        now += LOOK
        wanted, course = decide(scaling, course, Look(size, 0.0, 0.0, 0.0), now)
        if wanted != size:
            sizes.append(wanted)
        size = wanted
    assert sizes == [7, 6, 5, 4, 3, 2]


@pytest.mark.parametrize(("wait", "wanted"), [(0.06, 3), (0.07, 3), (0.2, 4), (60.0, 4)])
def test_it_grows_in_proportion_and_to_twice_as_many_at_most(wait: float, wanted: int) -> None:
    scaling, course = Scaling(1, 8, 0.05), Course()
    size, course = decide(scaling, course, Look(2, wait, 1.0, 1.0), 10.0)
    assert size == 2
    size, course = decide(scaling, course, Look(2, wait, 1.0, 1.0), 10.0 + UP_AFTER)
    assert size == wanted


def test_waits_of_workers_that_are_hardly_busy_are_no_reason_to_grow() -> None:
    course = Course()
    for now in range(100):
        size, course = decide(Scaling(1, 8, 0.05), course, Look(1, 5.0, 0.1, 0.1), float(now))
        assert size == 1


def followed(scaling: Scaling, size: int, look: Callable[[int], Look], seconds: float) -> list[tuple[float, int]]:
    """When it goes to which size, if that is what is seen of each."""
    course, changes = Course(), []
    for n in range(int(seconds / LOOK)):
        wanted, course = decide(scaling, course, look(size), n * LOOK)
        if wanted != size:
            changes.append((n * LOOK, wanted))
        size = wanted
    return changes


def test_after_each_step_up_it_waits_for_what_that_brings() -> None:
    changes = followed(Scaling(1, 64, 0.05), 1, lambda size: Look(size, 5.0, 1.0, 1.0), 60.0)
    assert [size for _, size in changes] == [2, 4, 8, 16, 32, 64]
    assert all(later - earlier >= UP_COOLDOWN for (earlier, _), (later, _) in pairwise(changes))


def test_nobody_leaves_whose_work_would_leave_the_others_no_room() -> None:
    load = 3.0
    changes = followed(Scaling(1, 8, 0.05), 8, lambda size: Look(size, 0.0, load / size, load / size), 600.0)
    assert [size for _, size in changes] == [7, 6, 5], "four would be busy for three quarters of their time"


def test_a_step_down_that_had_to_be_taken_back_is_tried_after_twice_as_long() -> None:
    """Two have room to spare, and one makes calls wait."""
    load = 0.55
    changes = followed(
        Scaling(1, 2, 0.05), 2, lambda size: Look(size, 5.0 if size == 1 else 0.0, load / size, load / size), 500.0
    )
    downs = [later - earlier for (earlier, size), (later, _) in pairwise(changes) if size == 2]
    assert downs[:3] == pytest.approx([2 * DOWN_AFTER, 4 * DOWN_AFTER, 8 * DOWN_AFTER], abs=2 * LOOK)
