"""Which calls run together, and when: no call lost, none twice, none kept waiting for nothing."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec_worker.batching import Cost, Gathering
from ipc.batch import Batch

START, EACH = 0.005, 0.0001
"""What the node of the figure costs, seconds."""


@dataclass(eq=False)
class Call:
    arrived: float
    client: object = None
    deadline: float = math.inf
    size: int = 1
    began: float = math.nan
    ended: float = math.nan
    runs: int = 0
    verdict: str = ""


class Worker:
    """One slot, a node of known cost, and a clock that goes from event to event."""

    def __init__(self, batch: Batch, start: float = START, each: float = EACH, max_bytes: int = 1 << 20) -> None:
        self.gathering: Gathering[Call] = Gathering(batch, max_bytes)
        self.start, self.each = start, each
        self.now = 0.0
        self.running: tuple[Call, ...] = ()
        self.began = 0.0
        self.calls: list[Call] = []
        self.batches: list[tuple[Call, ...]] = []
        self.waited_from = math.nan
        """Since when a slot was free with something to run."""
        self.longest_wait = 0.0
        self._events: list[tuple[float, int, tuple[object, ...]]] = []
        self._order = itertools.count()
        self.on_end = lambda _call: None

    def at(self, when: float, *what: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def go(self, until: float = math.inf) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, (what, *args) = heapq.heappop(self._events)
            getattr(self, f"on_{what}")(*args)
            self.look()

    def on_arrive(self, call: Call) -> None:
        self.calls.append(call)
        if not self.gathering.offer(call, self.now):
            call.verdict = "busy"
            self.on_end(call)

    def on_look(self) -> None:
        pass

    def on_leave(self, call: Call) -> None:
        if self.gathering.withdraw(call):
            call.verdict = "left"

    def on_gone(self, client: object) -> None:
        for call in self.gathering.gone(client):
            call.verdict = "left"

    def on_done(self) -> None:
        self.gathering.ran(len(self.running), self.now - self.began)
        ended, self.running = self.running, ()
        for call in ended:
            call.ended, call.verdict = self.now, "done"
            self.on_end(call)

    def look(self) -> None:
        if self.running:
            return
        due = self.gathering.due(self.now)
        assert (due == math.inf) == (not len(self.gathering))
        if due > self.now:
            if due < math.inf:
                self.waited_from = self.now if math.isnan(self.waited_from) else self.waited_from
                self.at(due, "look")
            else:
                self.waited_from = math.nan
            return
        if not math.isnan(self.waited_from):
            self.longest_wait = max(self.longest_wait, self.now - self.waited_from)
            self.waited_from = math.nan
        taken = self.gathering.take(self.now)
        for call in taken.expired:
            call.verdict = "expired"
        for call in taken.batch:
            call.runs += 1
            call.began = self.now
        if taken.batch:
            self.batches.append(taken.batch)
            self.running, self.began = taken.batch, self.now
            self.at(self.now + self.start + self.each * len(taken.batch), "done")


happenings = st.lists(
    st.tuples(
        st.floats(0, 0.01),  # after the one before
        st.sampled_from(["arrive"] * 6 + ["leave", "gone"]),
        st.sampled_from([math.inf, math.inf, 0.05, 0.006, 0.001, 0.0]),  # its time
        st.integers(0, 400),  # its size
        st.integers(0, 2),  # its client
    ),
    max_size=60,
)


@given(
    happenings, st.integers(1, 8), st.sampled_from([0.0, 1.0, 5.0, 50.0]), st.sampled_from([0.0, 0.001, 0.005, 0.02])
)
def test_whatever_comes_and_goes(
    story: list[tuple[float, str, float, int, int]], max_size: int, max_wait_ms: float, start: float
) -> None:
    worker = Worker(Batch(max_size, max_wait_ms), start, max_bytes=1000)
    calls: list[Call] = []
    when = 0.0
    for after, what, patience, size, client in story:
        when += after
        if what == "arrive":
            calls.append(Call(when, client, when + patience, size))
            worker.at(when, "arrive", calls[-1])
        elif what == "leave" and calls:
            worker.at(when, "leave", calls[-1])
        else:
            worker.at(when, "gone", client)
    worker.go()
    assert len(worker.gathering) == 0
    for call in calls:
        assert call.verdict in {"done", "busy", "left", "expired"}
        assert call.runs == (call.verdict == "done")
        assert call.verdict != "expired" or call.deadline <= worker.now
        if call.runs:
            assert call.began < call.deadline
    for batch in worker.batches:
        assert 1 <= len(batch) <= max_size
        assert len(batch) == 1 or sum(call.size for call in batch) <= 1000
    ran = [call for batch in worker.batches for call in batch]
    assert ran == sorted(ran, key=lambda call: call.arrived)
    assert worker.longest_wait <= max_wait_ms / 1000 + 1e-9


@given(happenings, st.integers(1, 8), st.sampled_from([0.0, 1.0, 5.0]))
def test_nobody_waits_for_longer_than_for_company_and_for_what_runs(
    story: list[tuple[float, str, float, int, int]], max_size: int, max_wait_ms: float
) -> None:
    worker = Worker(Batch(max_size, max_wait_ms))
    when = 0.0
    for after, _, _, size, _ in story:
        when += after
        worker.at(when, "arrive", Call(when, size=size))
    worker.go()
    for call in worker.calls:
        if call.runs:
            assert call.began - call.arrived <= max_wait_ms / 1000 + START + EACH * max_size + 1e-9


@pytest.mark.parametrize("gap", [0.0055, 0.02, 1.0])
def test_a_call_that_is_alone_is_not_delayed(gap: float) -> None:
    worker = Worker(Batch(32, 5))
    for number in range(200):
        worker.at(number * gap, "arrive", Call(number * gap))
    worker.go()
    assert {len(batch) for batch in worker.batches} == {1}
    assert all(call.began == call.arrived for call in worker.calls)


def test_a_call_that_is_alone_after_many_is_soon_not_delayed_any_more() -> None:
    worker = Worker(Batch(32, 5))
    crowd(worker, 32, until=2.0)
    worker.go()
    lone = [Call(3.0 + number * 0.05) for number in range(60)]
    for call in lone:
        worker.at(call.arrived, "arrive", call)
    worker.go()
    waits = [call.began - call.arrived for call in lone]
    assert max(waits) <= 0.005
    assert waits[20:] == [0.0] * 40


def crowd(worker: Worker, connections: int, until: float, way: float = 0.0003) -> None:
    """So many that ask again once they are answered, one shortly after the other."""
    rng = random.Random(1)
    answered: dict[float, int] = {}

    def again(call: Call) -> None:
        answered[worker.now] = answered.get(worker.now, 0) + 1
        when = worker.now + way + 0.00007 * answered[worker.now] + 0.0001 * rng.random()
        if when < until:
            worker.at(when, "arrive", Call(when))

    worker.on_end = again  # type: ignore[assignment,method-assign]
    for _ in range(connections):
        when = rng.random() * 0.001
        worker.at(when, "arrive", Call(when))


def rate(connections: int, batch: Batch) -> float:
    worker = Worker(batch)
    crowd(worker, connections, until=2.0)
    worker.go()
    return sum(call.runs for call in worker.calls) / worker.now


def test_the_figure() -> None:
    """A node with 5 ms for a start and 0.1 ms for each call, asked by 64 connections at once."""
    alone, together = rate(64, Batch(1, 0)), rate(64, Batch(32, 5))
    assert alone == pytest.approx(1 / (START + EACH), rel=0.05)
    assert together >= 8 * alone


@pytest.mark.parametrize(("connections", "least"), [(1, 0.99), (2, 1.75), (8, 5), (16, 8), (24, 10)])
def test_those_that_come_together_run_together(connections: int, least: float) -> None:
    """Though nobody waits behind them: waiting has been worth it before."""
    assert rate(connections, Batch(32, 5)) >= least * rate(1, Batch(1, 0))


@pytest.mark.parametrize("per_second", [20, 100, 500, 2000])
def test_strangers_that_come_at_random_gain_or_lose_little(per_second: float) -> None:
    """Against a worker that never waits for company."""

    def latency(max_wait_ms: float) -> float:
        worker, rng, when = Worker(Batch(32, max_wait_ms)), random.Random(7), 0.0
        while when < 10:
            when += rng.expovariate(per_second)
            worker.at(when, "arrive", Call(when))
        worker.go()
        return math.fsum(call.ended - call.arrived for call in worker.calls) / len(worker.calls)

    assert latency(5.0) <= 1.1 * latency(0.0)


def test_a_batch_begins_in_time_for_the_most_impatient() -> None:
    gathering: Gathering[Call] = Gathering(Batch(4, 1000))
    gathering.ran(1, 0.1)
    for _ in range(20):  # two that come 50 ms apart, again and again
        gathering.offer(Call(0.0), 0.0)
        gathering.due(0.0)
        gathering.offer(Call(0.0), 0.05)
        gathering.take(0.05)
        gathering.ran(2, 0.1)
    gathering.offer(Call(1.0), 1.0)
    assert gathering.due(1.0) > 1.04
    gathering.offer(Call(1.0, deadline=1.11), 1.0)
    gathering.withdraw(next(iter(gathering._calls)))
    assert gathering.due(1.0) == pytest.approx(1.01)


def test_a_batch_is_bounded_in_bytes_and_one_call_is_always_taken() -> None:
    gathering: Gathering[Call] = Gathering(Batch(8, 5), max_bytes=1000)
    assert gathering.offer(Call(0.0, size=5000), 0.0)
    assert gathering.full
    assert not gathering.offer(Call(0.0, size=0), 0.0)
    assert len(gathering.take(0.0).batch) == 1
    assert gathering.offer(Call(0.0, size=600), 0.0)
    assert not gathering.offer(Call(0.0, size=600), 0.0)
    assert gathering.offer(Call(0.0, size=400), 0.0)
    assert gathering.full


@given(st.lists(st.integers(1, 32), min_size=30, max_size=60), st.floats(0, 0.1), st.floats(0, 0.01))
def test_the_cost_of_a_start_is_learned(sizes: list[int], start: float, each: float) -> None:
    cost = Cost()
    for size in [*sizes, 1, 32, 1, 32, 1, 32]:
        cost.ran(size, start + each * size)
    assert cost.start == pytest.approx(start, rel=0.02, abs=1e-6)
    assert cost.each == pytest.approx(each, rel=0.02, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 256), st.floats(0, 100)), max_size=40))
def test_whatever_runs_what_is_learned_stays_sane(runs: list[tuple[int, float]]) -> None:
    cost = Cost()
    for size, took in runs:
        cost.ran(size, took)
        assert 0 <= cost.start <= 100.1
        assert 0 <= cost.each <= 100.1
        assert math.isfinite(cost.of(256))
