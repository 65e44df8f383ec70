"""Batched and plain nodes before one admission: whatever comes and goes, each call ends once."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from exec_worker.admission import Admission, Verdict
from exec_worker.batches import Batches, Turn
from ipc.batch import Batch

if TYPE_CHECKING:
    from exec_worker.batches import Outcome

BATCHED = {"embed": Batch(3, 5), "parse": Batch(2, 0)}
TAKES = {"embed": 0.004, "parse": 0.02, "plain": 0.0004}


@dataclass(eq=False)
class Call:
    node: str
    client: object
    deadline: float
    last_resort: bool
    size: int = 1
    patience: float = 0.0
    verdicts: list[str] = field(default_factory=list)
    runs: bool = False


class Worker:
    """What a service does, in a time of its own."""

    def __init__(self, slots: int) -> None:
        self.now = 0.0
        self.slots = slots
        self.admission: Admission[Call | Turn[Call]] = Admission(slots)
        self.batches: Batches[Call] = Batches(self.admission, BATCHED)
        self.calls: list[Call] = []
        self.here: list[Call] = []
        self.running: list[Call | Turn[Call]] = []
        self.together: list[tuple[Call, ...]] = []
        self.began: list[float] = []
        self.ready: Counter[object] = Counter()
        self._events: list[tuple[float, int, tuple[object, ...]]] = []
        self._order = itertools.count()

    def at(self, when: float, *what: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def go(self) -> None:
        while self._events:
            self.now, _, (what, *args) = heapq.heappop(self._events)
            getattr(self, f"on_{what}")(*args)
            assert len(self.admission.running) <= self.slots
            assert len(self.running) <= self.slots

    def over(self, call: Call, verdict: str) -> None:
        self.here.remove(call)
        call.verdicts.append(verdict)

    def follow(self, outcome: Outcome[Call]) -> None:
        for late in outcome.expired:
            assert late.deadline <= self.now
            self.over(late, "expired")
        if outcome.offer is not None:
            self.ready[outcome.offer] += 1
        if (start := outcome.start) is not None:
            self.run(start)

    def run(self, start: Call | Turn[Call]) -> None:
        calls = start.calls if isinstance(start, Turn) else (start,)
        node = calls[0].node
        assert {call.node for call in calls} == {node}
        assert len(calls) <= (BATCHED[node].max_size if node in BATCHED else 1)
        for call in calls:
            assert not call.runs
            assert call.deadline > self.now
            call.runs = True
        if isinstance(start, Turn):
            self.together.append(calls)
            assert start.deadline == max(call.deadline for call in calls)
        self.running.append(start)
        self.began.append(self.now)
        self.at(self.now + TAKES[node], "done", start)

    def look(self) -> None:
        for returned in self.admission.give_back(self.now):
            for call in self.batches.disband(returned, self.now) if isinstance(returned, Turn) else (returned,):
                self.over(call, "busy")
        for other in self.admission.overdue(self.now):
            self.ready[other] += 1
        while (outcome := self.batches.look(self.now)) is not None:
            self.follow(outcome)
        soon = min(self.batches.due(self.now), self.now + (self.admission.waits_for_time or float("inf")))
        assert soon > self.now
        if soon < float("inf"):
            self.at(soon, "look")

    def on_look(self) -> None:
        self.look()

    def on_arrive(self, node: str, client: object, patience: float, last_resort: bool) -> None:
        call = Call(node, client, self.now + patience, last_resort)
        self.calls.append(call)
        self.here.append(call)
        if node in BATCHED:
            verdict = self.batches.arrive(node, call, self.now)
        else:
            verdict = self.admission.arrive(call, self.now)
        if verdict is Verdict.START and node not in BATCHED:
            self.run(call)
        elif verdict not in (Verdict.START, Verdict.HOLD):
            self.over(call, verdict.value)
        self.look()

    def on_done(self, run: Call | Turn[Call]) -> None:
        self.running.remove(run)
        for call in run.calls if isinstance(run, Turn) else (run,):
            self.over(call, "done")
        if isinstance(run, Turn):
            self.batches.ran(run.node, len(run.calls), TAKES[run.node])
        self.follow(self.batches.follow(self.admission.finished(run, self.now), self.now))
        self.look()

    def on_cancel(self, number: int) -> None:
        waiting = [call for call in self.here if not call.runs]
        if not waiting:
            return
        call = waiting[number % len(waiting)]
        if call.node in BATCHED:
            self.over(call, "cancelled")
            self.follow(self.batches.withdraw(call.node, call, self.now))
        elif self.admission.cancel(call):
            self.over(call, "cancelled")
        self.look()

    def on_gone(self, client: object) -> None:
        if (other := self.admission.gone(client, self.now)) is not None:
            self.ready[other] += 1
        outcomes = self.batches.gone(client, self.now)
        for call in [call for call in self.here if call.client == client and not call.runs]:
            self.over(call, "gone")
        for outcome in outcomes:
            self.follow(outcome)
        self.look()

    def on_decline(self, client: object) -> None:
        if (other := self.admission.declined(client, self.now)) is not None:
            self.ready[other] += 1
        self.look()

    def on_drain(self) -> None:
        for call in self.admission.drain():
            if not isinstance(call, Turn):
                self.over(call, "draining")
        for each in self.batches.drain(self.now):
            self.over(each, "draining")
        assert all(call.runs for call in self.here)


arrivals = st.tuples(
    st.just("arrive"),
    st.sampled_from(["embed", "embed", "parse", "plain"]),
    st.sampled_from("abc"),
    st.sampled_from([9.0, 9.0, 0.01, 0.001, 0.0]),
    st.booleans(),
)
others = st.one_of(
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("gone"), st.sampled_from("abc")),
    st.tuples(st.just("decline"), st.sampled_from("abc")),
)
story = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0001, 0.001, 0.005, 0.03]), st.one_of(arrivals, arrivals, arrivals, others)),
    max_size=50,
)


@given(story, st.integers(1, 3), st.booleans())
def test_each_call_ends_once_and_no_slot_is_lost(
    told: list[tuple[float, tuple[object, ...]]], slots: int, drains: bool
) -> None:
    worker, when = Worker(slots), 0.0
    for after, what in told:
        when += after
        worker.at(when, *what)
    if drains:
        worker.at(when, "drain")
    worker.go()
    assert not worker.here
    assert not worker.running
    assert all(len(call.verdicts) == 1 for call in worker.calls)
    assert all(call.runs == (call.verdicts == ["done"]) for call in worker.calls)
    if not drains:
        assert not worker.admission.running
        assert not worker.admission.held
        assert not worker.batches._turns


@given(story, st.integers(1, 3))
def test_calls_of_one_node_run_in_the_order_in_which_they_came(
    told: list[tuple[float, tuple[object, ...]]], slots: int
) -> None:
    worker, when = Worker(slots), 0.0
    for after, what in told:
        when += after
        worker.at(when, *what)
    worker.go()
    for node in BATCHED:
        ran = [call for calls in worker.together for call in calls if call.node == node]
        assert ran == [call for call in worker.calls if call in ran]


def test_a_slot_for_which_others_wait_is_not_left_idle_for_company() -> None:
    worker = Worker(1)
    for _ in range(30):  # two that come together, again and again
        worker.at(worker.now + 1.0, "arrive", "embed", "a", 9.0, True)
        worker.at(worker.now + 1.0005, "arrive", "embed", "a", 9.0, True)
        worker.go()
    assert [len(calls) for calls in worker.together[-3:]] == [2, 2, 2]
    came = worker.now + 1.0
    worker.at(came, "arrive", "embed", "a", 9.0, True)
    worker.at(came + 0.0003, "arrive", "plain", "b", 9.0, True)
    worker.go()
    assert worker.began[-2:] == [came + 0.0003, came + 0.0003 + TAKES["embed"]]
