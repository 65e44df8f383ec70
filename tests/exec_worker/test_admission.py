"""Who runs, who is held, who is sent away, and that whoever was sent away is called back."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec_worker.admission import (
    FAIR_AFTER,
    GIVE_BACK_AFTER,
    HOLD_BEHIND,
    HOLD_FOR,
    KEEP_SLOT,
    MAX_ROOM,
    Admission,
    Next,
    Verdict,
)

START, HOLD, BUSY, EXPIRED, DRAINING = Verdict


@dataclass(frozen=True)
class Ask:
    client: object
    deadline: float = float("inf")
    last_resort: bool = True
    patience: float = 0.0
    number: int = field(default_factory=count().__next__)


def only(client: object, deadline: float = float("inf")) -> Ask:
    """Asked by somebody who knows others that are free."""
    return Ask(client, deadline, last_resort=False)


def over(admission: Admission[Ask], time: float) -> Next[Ask]:
    """The call that has run for longest ends."""
    return admission.finished(next(iter(admission.running)), time)


@pytest.fixture
def admission() -> Admission[Ask]:
    return Admission()


def short(admission: Admission[Ask], calls: int = 60) -> None:
    """Let it learn that calls take no time."""
    for _ in range(calls):
        assert admission.arrive(Ask("teacher"), 0.0) is START
        over(admission, 0.0)


def test_one_runs_one_is_held_the_rest_go_away(admission: Admission[Ask]) -> None:
    first, second, third = Ask("a"), Ask("b"), Ask("c")
    assert [admission.arrive(call, 1.0) for call in (first, second, third)] == [START, HOLD, BUSY]
    assert list(admission.running) == [first]
    assert over(admission, 1.001) == Next(second)
    assert over(admission, 1.002) == Next(offer="c")


def test_nothing_is_held_for_who_knows_of_others(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    assert admission.arrive(only("b"), 1.0) is BUSY


def test_nothing_is_held_behind_a_call_that_takes_its_time(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    assert admission.arrive(Ask("b"), 1.001 + GIVE_BACK_AFTER) is BUSY


def test_what_is_held_behind_such_a_call_is_given_back_and_called_again(admission: Admission[Ask]) -> None:
    held = Ask("b")
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(held, 1.001)
    assert admission.give_back(1.002) == ()
    assert admission.give_back(1.001 + GIVE_BACK_AFTER) == (held,)
    assert admission.give_back(2.0) == ()
    assert over(admission, 2.0) == Next(offer="b")


def test_a_call_whose_time_is_over_is_never_started(admission: Admission[Ask]) -> None:
    assert admission.arrive(Ask("a", deadline=1.0), 1.0) is EXPIRED
    admission.arrive(Ask("a"), 1.0)
    late = Ask("b", deadline=1.002)
    admission.arrive(late, 1.001)
    assert over(admission, 1.002) == Next(expired=(late,))
    assert not admission.running


def test_a_slot_kept_for_who_waited_long_is_for_nobody_else(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(only("b"), 1.0)
    assert over(admission, 1.1).offer == "b"
    assert admission.arrive(Ask("a"), 1.1) is BUSY
    assert admission.arrive(only("b"), 1.1) is START
    assert over(admission, 1.2).offer == "a"


def test_a_slot_kept_for_who_just_came_is_for_whoever_is_first(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(only("b"), 1.0)
    admission.arrive(only("c"), 1.0)
    assert over(admission, 1.001).offer == "b"
    assert admission.arrive(only("d"), 1.001) is START
    assert admission.arrive(only("b"), 1.001) is HOLD, "but then it is next"
    assert over(admission, 1.002).start.client == "b"
    assert over(admission, 1.003).offer == "c"
    assert admission.declined("c", 1.003) is None


def test_who_was_beaten_to_a_slot_keeps_its_place_in_line_while_calls_are_long(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    assert over(admission, 1.0 + FAIR_AFTER) == Next()
    admission.arrive(Ask("a"), 1.0)
    over(admission, 1.0 + 3 * HOLD_BEHIND)
    admission.arrive(Ask("a"), 2.0)
    admission.arrive(only("b"), 2.0)
    assert over(admission, 2.0 + FAIR_AFTER / 2).offer == "b"
    assert admission.arrive(Ask("a"), 2.0 + FAIR_AFTER / 2) is START
    assert admission.arrive(only("b"), 2.0 + FAIR_AFTER / 2) is BUSY
    assert admission.arrive(only("c"), 2.0 + FAIR_AFTER / 2) is BUSY
    assert over(admission, 2.001 + FAIR_AFTER).offer == "b"
    assert admission.arrive(Ask("a"), 2.001 + FAIR_AFTER) is BUSY
    assert admission.arrive(only("b"), 2.001 + FAIR_AFTER) is START


def test_who_is_served_is_not_called(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(only("a"), 1.0)
    admission.arrive(only("b"), 1.0)
    assert over(admission, 1.001).offer == "a"
    assert admission.arrive(Ask("b"), 1.001) is START
    assert admission.declined("a", 1.002) is None
    assert over(admission, 1.003) == Next()


def test_nothing_is_held_where_calls_are_long(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    over(admission, 1.001 + HOLD_BEHIND)
    admission.arrive(Ask("a"), 2.0)
    assert admission.arrive(Ask("b"), 2.0) is BUSY


def test_a_kept_slot_is_offered_on(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    for client in ("b", "c", "d", "e"):
        admission.arrive(only(client), 1.0)
    assert over(admission, 1.1).offer == "b"
    assert admission.declined("x", 1.1) is None
    assert admission.declined("b", 1.1) == "c"
    assert admission.declined("b", 1.1) is None
    assert admission.gone("c", 1.1) == "d"
    assert admission.overdue(1.1 + KEEP_SLOT / 2) == []
    assert admission.overdue(1.2 + KEEP_SLOT) == ["e"]
    assert admission.overdue(1.3 + 2 * KEEP_SLOT) == []
    assert admission.arrive(only("z"), 2.0) is START


def test_an_overdue_slot_is_free_for_whoever_comes(admission: Admission[Ask]) -> None:
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(only("b"), 1.0)
    over(admission, 1.1)
    assert admission.arrive(only("c"), 1.2 + KEEP_SLOT) is START
    assert admission.arrive(only("b"), 1.2 + KEEP_SLOT) is BUSY
    assert over(admission, 1.3 + KEEP_SLOT).offer == "b"


def test_who_is_gone_is_not_called(admission: Admission[Ask]) -> None:
    held = Ask("b")
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(held, 1.0)
    admission.arrive(only("c"), 1.0)
    assert admission.gone("b", 1.0) is None
    assert admission.gone("c", 1.0) is None
    assert admission.held == 0
    assert not admission.cancel(held)
    assert over(admission, 1.1) == Next()


def test_a_held_call_can_be_cancelled_once(admission: Admission[Ask]) -> None:
    running, held = Ask("a"), Ask("b")
    admission.arrive(running, 1.0)
    admission.arrive(held, 1.0)
    assert not admission.cancel(running)
    assert admission.cancel(held)
    assert not admission.cancel(held)
    assert over(admission, 1.1) == Next()


def test_draining_takes_nothing_and_calls_nobody(admission: Admission[Ask]) -> None:
    held = Ask("b")
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(held, 1.0)
    admission.arrive(only("c"), 1.0)
    assert admission.drain() == (held,)
    assert admission.arrive(Ask("d"), 1.0) is DRAINING
    assert over(admission, 1.1) == Next()
    assert admission.arrive(Ask("d"), 1.2) is DRAINING
    assert admission.drain() == ()


def test_many_are_held_only_while_calls_are_short(admission: Admission[Ask]) -> None:
    assert admission.room(1) == 1
    short(admission)
    assert admission.room(1) == MAX_ROOM
    assert admission.room(4) == MAX_ROOM // 4
    assert admission.room(1000) == 1
    assert admission.room(0) == MAX_ROOM
    verdicts = [admission.arrive(Ask("a"), 0.0) for _ in range(MAX_ROOM + 2)]
    assert verdicts == [START] + [HOLD] * MAX_ROOM + [BUSY]
    over(admission, 1.2 * HOLD_FOR)  # one long call is believed at once
    assert admission.room(1) == 1


def test_who_holds_many_does_not_keep_others_out(admission: Admission[Ask]) -> None:
    """One client always has a call held here when the running one ends; another was told busy before."""
    time = 1.0
    admission.arrive(Ask("greedy"), time)
    admission.arrive(Ask("greedy"), time)
    assert admission.arrive(Ask("patient"), time) is BUSY
    offered = None
    while offered is None:
        time += 0.001
        following = over(admission, time)
        offered = following.offer
        assert following.start is not None, "the slot need not be idle for it"
        if offered is None:
            assert admission.arrive(Ask("greedy"), time) is HOLD
        assert time < 1.0 + 2 * FAIR_AFTER
    assert offered == "patient"
    patient = only("patient")
    assert admission.arrive(Ask("greedy"), time) is HOLD
    assert admission.arrive(patient, time) is HOLD
    assert over(admission, time + 0.001).start.client == "greedy"
    assert over(admission, time + 0.002).start is patient


def test_time_matters_while_somebody_waits_for_it(admission: Admission[Ask]) -> None:
    assert admission.waits_for_time is None
    admission.arrive(Ask("a"), 1.0)
    assert admission.waits_for_time is None
    admission.arrive(Ask("b"), 1.0)
    assert admission.waits_for_time == GIVE_BACK_AFTER
    admission.give_back(2.0)
    assert admission.waits_for_time == KEEP_SLOT
    over(admission, 2.0)
    assert admission.waits_for_time == KEEP_SLOT
    admission.declined("b", 2.0)
    assert admission.waits_for_time is None


def test_as_many_run_as_there_are_slots_and_each_free_one_is_kept_for_somebody_else() -> None:
    admission: Admission[Ask] = Admission(3)
    calls = [only("a") for _ in range(3)]
    assert [admission.arrive(call, 1.0) for call in calls] == [START] * 3
    assert [admission.arrive(only(client), 1.0) for client in "bcb"] == [BUSY] * 3
    assert admission.finished(calls[1], 2.0) == Next(offer="b")
    assert admission.finished(calls[0], 2.0) == Next(offer="c")
    assert admission.finished(calls[2], 2.0) == Next()
    assert admission.arrive(only("d"), 2.0) is START
    assert admission.arrive(only("d"), 2.0) is BUSY, "two are owed the others"
    assert admission.arrive(only("c"), 2.0) is START
    assert admission.declined("b", 2.0) == "d"


def test_those_who_do_not_come_for_their_slots_are_all_passed_over() -> None:
    admission: Admission[Ask] = Admission(2)
    calls = [only("a"), only("a")]
    for call in calls:
        admission.arrive(call, 1.0)
    for client in "bcde":
        admission.arrive(only(client), 1.0)
    assert [admission.finished(call, 1.1).offer for call in calls] == ["b", "c"]
    assert admission.overdue(1.1 + KEEP_SLOT / 2) == []
    assert admission.overdue(1.2 + KEEP_SLOT) == ["d", "e"]


def test_a_call_is_held_while_one_of_those_that_run_is_young() -> None:
    admission: Admission[Ask] = Admission(2)
    admission.arrive(Ask("a"), 1.0)
    admission.arrive(Ask("a"), 1.0 + 3 * GIVE_BACK_AFTER)
    held = Ask("b")
    assert admission.arrive(held, 1.0 + 3 * GIVE_BACK_AFTER) is HOLD
    assert admission.give_back(1.0 + 3.5 * GIVE_BACK_AFTER) == ()
    assert admission.give_back(1.001 + 4 * GIVE_BACK_AFTER) == (held,)


def test_each_web_worker_may_fill_every_slot() -> None:
    admission: Admission[Ask] = Admission(4)
    assert [admission.room(clients) for clients in (0, 1, 8)] == [4, 4, 4]
    for _ in range(60):
        admission.arrive(Ask("a"), 0.0)
        over(admission, 0.0)
    assert [admission.room(clients) for clients in (1, 2, 8)] == [MAX_ROOM, MAX_ROOM // 2, 4]


class Ledger:
    """A slow reference: what must be true of any admission, kept in lists as a person would keep it."""

    def __init__(self, slots: int) -> None:
        self.admission: Admission[Ask] = Admission(slots)
        self.slots = slots
        self.now = 1.0
        self.running: list[Ask] = []
        self.held: list[Ask] = []
        self.owed: dict[str, float] = {}
        self.kept: dict[str, float] = {}
        self.fates: dict[int, str] = {}
        self.draining = False

    def fate(self, call: Ask, what: str) -> None:
        assert call.number not in self.fates, f"{what} after {self.fates[call.number]}"
        self.fates[call.number] = what

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def offered(self, client: object) -> None:
        if client is None:
            return
        assert not self.draining
        assert client == next(other for other in self.owed if other not in self.kept), "not who waited longest"
        assert len(self.kept) < max(1, self.free), "two are kept the same slot"
        self.kept[client] = self.now

    def arrive(self, client: str, patience: float, last_resort: bool) -> None:
        call = Ask(client, self.now + patience, last_resort)
        verdict = self.admission.arrive(call, self.now)
        if self.draining:
            assert verdict is DRAINING
        elif patience <= 0:
            assert verdict is EXPIRED
        else:
            owed = sum(
                self.now - since <= KEEP_SLOT and self.now - self.owed[other] > FAIR_AFTER
                for other, since in self.kept.items()
            )
            assert (verdict is START) == (self.free > (0 if client in self.kept else owed))
        if verdict is START:
            self.start(call)
        elif verdict is HOLD:
            assert not self.free
            self.held.append(call)
            self.served(client)
        else:
            self.fate(call, verdict.value)
            if verdict is BUSY:
                self.owed.setdefault(client, self.now)
                self.kept.pop(client, None)

    def start(self, call: Ask) -> None:
        self.fate(call, "run")
        self.running.append(call)
        self.served(call.client)

    def served(self, client: object) -> None:
        self.owed.pop(client, None)
        self.kept.pop(client, None)

    def finish(self, index: int = 0) -> None:
        if not self.running:
            return
        following = self.admission.finished(self.running.pop(index % len(self.running)), self.now)
        for call in following.expired:
            assert call is self.held.pop(0)
            assert call.deadline <= self.now
            self.fate(call, "expired")
        if following.start is not None:
            assert following.start is self.held.pop(0)
            assert following.start.deadline > self.now
            self.start(following.start)
            if self.owed and not self.kept and not self.draining:
                waited = self.now - next(iter(self.owed.values()))
                assert waited <= FAIR_AFTER or following.offer is not None, "kept out by those who are held"
        self.offered(following.offer)

    def give_back(self) -> None:
        for call in self.admission.give_back(self.now):
            assert call is self.held.pop(0)
            self.fate(call, "busy")
            self.owed.setdefault(call.client, self.now)

    def decline(self, client: str) -> None:
        if client in self.kept:
            self.served(client)
        self.offered(self.admission.declined(client, self.now))

    def overdue(self) -> None:
        for client in [client for client, since in self.kept.items() if self.now - since > KEEP_SLOT]:
            self.served(client)
        for client in self.admission.overdue(self.now):
            self.offered(client)

    def gone(self, client: str) -> None:
        for call in [call for call in self.held if call.client == client]:
            self.held.remove(call)
            self.fate(call, "gone")
        self.served(client)
        self.offered(self.admission.gone(client, self.now))

    def cancel(self, index: int) -> None:
        if self.held:
            call = self.held.pop(index % len(self.held))
            assert self.admission.cancel(call)
            self.fate(call, "cancelled")

    def drain(self) -> None:
        assert list(self.admission.drain()) == self.held
        for call in self.held:
            self.fate(call, "draining")
        self.held, self.owed, self.kept, self.draining = [], {}, {}, True

    def check(self) -> None:
        assert list(self.admission.running) == self.running
        assert len(self.running) <= self.slots
        assert self.admission.held == len(self.held) <= MAX_ROOM + 8
        if self.free:
            assert not self.held
            assert len(self.kept) >= min(self.free, len(self.owed)), "a free slot, and somebody waits for it"
        assert self.kept.keys() <= self.owed.keys()
        if self.held or self.owed:
            assert self.admission.waits_for_time is not None, "somebody waits for a look nobody takes"


CLIENTS = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.one_of(
    st.tuples(st.just("arrive"), CLIENTS, st.sampled_from([0.0, 0.001, 0.02, 9.0]), st.booleans()),
    st.tuples(st.just("arrive"), CLIENTS, st.just(9.0), st.just(True)),
    st.tuples(st.just("finish")),
    st.tuples(st.just("finish"), st.integers(0, 3)),
    st.tuples(st.just("give_back")),
    st.tuples(st.just("decline"), CLIENTS),
    st.tuples(st.just("overdue")),
    st.tuples(st.just("gone"), CLIENTS),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.0001, 0.001, 0.004, 0.02, 0.06])),
)


@pytest.mark.parametrize("slots", [1, 2, 4])
@given(steps=st.lists(STEPS, max_size=60), drains=st.booleans())
def test_whatever_happens_everybody_has_one_fate_and_nobody_is_forgotten(
    slots: int, steps: list[tuple], drains: bool
) -> None:
    ledger = Ledger(slots)
    for name, *args in steps:
        if name == "wait":
            ledger.now += args[0]
        else:
            getattr(ledger, name)(*args)
        ledger.check()
    if drains:
        ledger.drain()
    for _ in range(100):  # nothing comes any more, and those who are called come for nothing
        if ledger.running:
            ledger.finish()
        elif ledger.kept:
            ledger.decline(next(iter(ledger.kept)))
        ledger.check()
    assert not ledger.held
    assert not ledger.owed
    assert not ledger.running
