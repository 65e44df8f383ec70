"""Three times more than a group can do: it goes on doing what it can, and whoever is refused is told at once."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))

from world import Call, World, mesh

from ipc.errors import Busy
from ipc.flow.dispatch import Dispatch
from ipc.priority import HIGH, LOW, NORMAL

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from ipc.errors import Rejected
    from ipc.flow.dispatch import Seat, Send

SWEEP = 0.02


def group(webs: int, execs: int) -> World:
    world = World(1)
    mesh(world, webs, execs)
    return world


def offer(
    world: World,
    until: float,
    rate: float,
    takes: Callable[[random.Random], float],
    patience: float,
    priority: int = NORMAL,
) -> list[Call]:
    """Calls by the clock, whatever becomes of them; from now until then."""
    calls, time = [], world.now
    while (time := time + world.rng.expovariate(rate)) < until:
        call = Call(time, takes(world.rng), time + patience, priority=priority)
        calls.append(call)
        world.at(time - world.now, world.rng.choice(world.webs).ask, call)
    return calls


def go(world: World, until: float) -> None:
    for number in range(int((until - world.now) / SWEEP) + 1):
        for web in world.webs:
            world.at(number * SWEEP, web.sweep)
    world.go(until)


def work(calls: list[Call]) -> float:
    """Seconds of workers' time that somebody got an answer for."""
    return sum(call.takes for call in calls if call.verdicts == ["done"])


@pytest.mark.parametrize(
    ("name", "takes", "mean", "patience"),
    [
        ("100 ms each, ten times as long to wait", lambda _: 0.1, 0.1, 1.0),
        ("100 ms each, hardly more time than that", lambda _: 0.1, 0.1, 0.25),
        ("20 ms on average", lambda rng: rng.expovariate(50), 0.02, 0.5),
        ("2 ms each, long to wait", lambda _: 0.002, 0.002, 1.0),
        ("20 or 200 ms", lambda rng: 0.2 if rng.random() < 0.2 else 0.02, 0.056, 1.0),
    ],
)
@pytest.mark.parametrize(("webs", "execs"), [(1, 1), (2, 4), (8, 8)])
def test_at_three_times_the_load_nearly_all_the_work_is_for_somebody(
    name: str, takes: Callable[[random.Random], float], mean: float, patience: float, webs: int, execs: int
) -> None:
    world = group(webs, execs)
    seconds = min(max(100 * mean, 8 * patience), 8000 * mean / (3 * execs))
    calls = offer(world, seconds, 3 * execs / mean, takes, patience)
    go(world, seconds + patience + 1)
    assert work(calls) >= 0.9 * execs * seconds, name
    verdicts = Counter(call.verdicts[0] for call in calls)
    assert all(len(call.verdicts) == 1 for call in calls)
    assert all(call.ended == call.arrived for call in calls if call.verdicts == ["busy"])
    assert all(call.runs == 0 for call in calls if call.verdicts[0] in {"busy", "expired"})
    assert verdicts["expired"] <= 0.1 * len(calls)  # these waited, and were told no only then
    assert verdicts["timeout"] <= 0.02 * len(calls)


def test_calls_that_have_become_quick_are_not_refused_for_what_they_were() -> None:
    world = group(2, 4)
    offer(world, 30.0, 3 * 4 / 2.0, lambda _: 2.0, 5.0)
    go(world, 30.0)
    offer(world, 34.0, 100.0, lambda _: 0.002, 5.0)
    go(world, 40.0)
    quick = offer(world, 45.0, 100.0, lambda _: 0.002, 5.0)
    go(world, 50.0)
    assert {tuple(call.verdicts) for call in quick} == {("done",)}


def test_calls_that_have_become_slow_do_not_make_the_others_wait_in_vain() -> None:
    world = group(2, 4)
    offer(world, 5.0, 0.9 * 4 / 0.005, lambda _: 0.005, 1.0)
    go(world, 5.0)
    slow = offer(world, 35.0, 3 * 4 / 0.2, lambda _: 0.2, 1.0)
    go(world, 37.0)
    assert work(slow) >= 0.9 * 4 * 30
    assert sum(call.verdicts != ["busy"] for call in slow) <= 1.2 * 4 * 30 / 0.2


def test_under_more_than_it_can_do_the_higher_class_is_served_first_and_the_lowest_not_never() -> None:
    world = group(2, 4)
    rate = 4 / 0.02
    by_class = {rank: offer(world, 20.0, rate, lambda _: 0.02, 1.0, rank) for rank in (HIGH, NORMAL, LOW)}
    go(world, 22.0)
    shares = {rank: work(calls) / (4 * 20.0) for rank, calls in by_class.items()}
    assert sum(shares.values()) >= 0.9
    assert shares[HIGH] >= 0.6
    assert shares[HIGH] > 2 * shares[NORMAL] > 4 * shares[LOW]
    assert shares[LOW] >= 0.02
    waits = [call.ended - call.arrived for call in by_class[LOW] if call.verdicts == ["done"]]
    assert max(waits) <= 1.0


class Pool:
    """One web worker before workers that run several calls at once, side by side or as one batch."""

    def __init__(self, seats: int, slots: int, *, batches: bool) -> None:
        self.world = World(1)
        self.slots, self.batches = slots, batches
        self.dispatch: Dispatch[Call] = Dispatch(self.world.rng, 1024, 10**12, self.settle)
        self.running: dict[Seat, int] = {}
        self.there: dict[Seat, list[Call]] = {}
        for number in range(seats):
            seat, _ = self.dispatch.up(f"cpu-{number}#1", 0.0)
            self.running[seat], self.there[seat] = 0, []

    def settle(self, call: Call, error: Rejected | None) -> None:
        call.verdicts.append(error.code if error is not None else "done")

    def ask(self, call: Call) -> None:
        try:
            send = self.dispatch.submit(call, self.world.now)
        except Busy as error:
            self.settle(call, error)
        else:
            self.send([send] if send is not None else [])

    def send(self, sends: list[Send[Call]]) -> None:
        for seat, call, _ in sends:
            assert call.deadline > self.world.now
            call.sent = self.world.now
            self.there[seat].append(call)
        for seat in {send.seat for send in sends}:
            self.begin(seat)

    def begin(self, seat: Seat) -> None:
        free = self.slots - self.running[seat]
        if self.batches and self.running[seat]:
            return
        calls, self.there[seat] = self.there[seat][:free], self.there[seat][free:]
        self.running[seat] += len(calls)
        if self.batches and calls:
            self.world.at(calls[0].takes, self.over, seat, calls)
        elif not self.batches:
            for call in calls:
                self.world.at(call.takes, self.over, seat, [call])

    def over(self, seat: Seat, calls: list[Call]) -> None:
        self.running[seat] -= len(calls)
        room = 2 * self.slots if self.batches else self.slots
        for call in calls:
            if call.deadline >= self.world.now:
                self.settle(call, None)
            self.send(self.dispatch.answered(seat, room, call, self.world.now))
        self.begin(seat)


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("patience", [0.5, 2.0])
def test_workers_that_run_several_calls_at_once_are_known_by_what_they_do(batches: bool, patience: float) -> None:
    pool, seconds = Pool(2, 8, batches=batches), 10.0
    time, every, calls = 0.0, 0.1 / 16 / 3, []
    while time < seconds:
        time += pool.world.rng.expovariate(1 / every)
        call = Call(time, 0.1, time + patience)
        calls.append(call)
        pool.world.at(time, pool.ask, call)
    pool.world.go(seconds)
    verdicts = Counter(verdict for call in calls for verdict in call.verdicts)
    assert verdicts["done"] >= 0.9 * seconds * 16 / 0.1
    assert verdicts["expired"] <= 0.05 * len(calls)
