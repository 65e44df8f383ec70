"""Many web workers that know nothing of one another, acting together nearly as one queue."""

from __future__ import annotations

import os
import statistics
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from offered import arrivals, beside_long
from world import Call, Exec, Web, World, ideal, mesh

SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
"""How many times longer than in `make test`."""


@pytest.mark.parametrize(
    ("kind", "webs", "execs", "count", "most"),
    [
        ("exponential 5 ms", 4, 8, 20_000, 1.12),
        ("exponential 5 ms", 16, 64, 20_000, 1.12),
        ("bimodal", 4, 8, 30_000, 1.15),
        ("bimodal", 16, 64, 20_000, 1.15),
        ("constant 1 ms", 4, 8, 20_000, 1.25),
        ("constant 1 ms", 16, 64, 20_000, 1.3),
    ],
)
def test_the_mesh_is_nearly_as_good_as_one_queue(kind: str, webs: int, execs: int, count: int, most: float) -> None:
    world = World(1)
    calls = arrivals(kind, execs, 0.8, count, world.rng)
    mesh(world, webs, execs)
    for call in calls:
        world.at(call.arrived, world.rng.choice(world.webs).ask, call)
    world.go()
    assert {tuple(call.verdicts) for call in calls} == {("done",)}
    assert {call.runs for call in calls} == {1}
    reached = statistics.fmean(call.ended - call.arrived for call in calls)
    best = statistics.fmean(ideal(calls, execs))
    assert reached <= most * best


@pytest.mark.parametrize(("webs", "execs"), [(4, 8), (16, 64)])
def test_a_short_call_finds_the_one_worker_that_runs_no_long_one(webs: int, execs: int) -> None:
    alone = statistics.quantiles(beside_long(webs, execs, 0, 10.0), n=100)[98]
    assert statistics.quantiles(beside_long(webs, execs, execs - 1, 10.0), n=100)[98] <= 2 * alone


@pytest.mark.parametrize(
    ("kind", "webs", "execs", "slots", "most"),
    [
        ("exponential 5 ms", 4, 2, 4, 1.15),
        ("exponential 5 ms", 16, 8, 8, 1.15),
        ("bimodal", 4, 2, 4, 1.2),
        ("bimodal", 16, 8, 8, 1.2),
        ("constant 1 ms", 4, 2, 4, 1.3),
    ],
)
def test_slots_of_few_workers_are_nearly_as_good_as_as_many_workers(
    kind: str, webs: int, execs: int, slots: int, most: float
) -> None:
    world = World(1)
    calls = arrivals(kind, execs * slots, 0.8, 10_000, world.rng)
    mesh(world, webs, execs, slots)
    for call in calls:
        world.at(call.arrived, world.rng.choice(world.webs).ask, call)
    world.go()
    assert {tuple(call.verdicts) for call in calls} == {("done",)}
    reached = statistics.fmean(call.ended - call.arrived for call in calls)
    best = statistics.fmean(ideal(calls, execs * slots))
    assert reached <= most * best, reached / best


@pytest.mark.parametrize("takes", [0.0005, 0.001, 0.002, 0.005, 0.01])
def test_under_more_than_it_can_do_every_web_worker_gets_its_share_and_nothing_is_idle(takes: float) -> None:
    """Four with ten callers each that ask again as soon as they are answered, and two workers."""
    world = World(1)
    mesh(world, 4, 2)
    served: Counter[Web] = Counter()
    longest = 0.0

    def ask(web: Web) -> None:
        call = Call(world.now, takes)
        web.ask(call)
        look(web, call)

    def look(web: Web, call: Call) -> None:
        nonlocal longest
        if not call.verdicts:
            world.at(takes / 4, look, web, call)
            return
        longest = max(longest, call.ended - call.arrived)
        served[web] += 1
        ask(web)

    for web in world.webs:
        for _ in range(10):
            world.at(world.rng.random() * takes, ask, web)
    seconds = 400 * takes
    world.go(seconds)
    assert sum(served.values()) >= 0.9 * 2 * seconds / takes - 40
    share = sum(served.values()) / 4
    assert all(0.7 * share <= served[web] <= 1.3 * share for web in world.webs), served.values()
    assert longest <= 40 * takes + 0.05


class Nemesis:
    """Whatever can happen to workers and callers, at random."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.calls: list[tuple[Web, Call]] = []
        self.leaving: set[Exec] = set()
        self.names = 0
        for _ in range(3):
            self.new_web()
        for _ in range(4):
            self.new_exec()

    def new_web(self) -> None:
        web = Web(self.world, max_calls=200)
        self.world.webs.append(web)
        for each in self.serving():
            web.connect(each)

    def new_exec(self) -> None:
        self.names += 1
        born = Exec(self.world, f"cpu-{self.names}#1", self.rng.choice([1, 1, 2, 5]))
        self.world.execs.append(born)
        for web in self.living():
            web.connect(born)

    def living(self) -> list[Web]:
        return [web for web in self.world.webs if web.alive]

    def serving(self) -> list[Exec]:
        return [each for each in self.world.execs if each.alive and each not in self.leaving]

    def ask(self) -> None:
        rng = self.rng
        takes = rng.choice([0.00001, 0.0005, 0.002, 0.002, 0.006, 0.03])
        patience = rng.choice([0.001, 0.05, float("inf"), float("inf"), float("inf")])
        call = Call(self.world.now, takes, self.world.now + patience)
        web = rng.choice(self.living())
        self.calls.append((web, call))
        web.ask(call)

    def cancel(self) -> None:
        waiting = [(web, call) for web, call in self.calls[-50:] if call in web.pending]
        if waiting:
            web, call = self.rng.choice(waiting)
            web.leave(call, "cancelled")

    def kill_exec(self) -> None:
        if self.serving():
            self.rng.choice(self.serving()).die()

    def drain_exec(self) -> None:
        if self.serving():
            leaving = self.rng.choice(self.serving())
            self.leaving.add(leaving)  # nobody is told of it any more
            for link in leaving.links.values():
                link.web.withdraw(link)
            self.world.at(self.rng.choice([0.0, 0.00001, 0.001]), leaving.drain)

    def kill_web(self) -> None:
        """Preferably one for which a slot is kept."""
        kept_for = [web for each in self.serving() for web in each.admission._kept if web in self.living()]
        if len(self.living()) > 1:
            self.rng.choice(kept_for or self.living()).vanish()

    def go(self, seconds: float) -> None:
        rng, world = self.rng, self.world
        faults = [self.cancel] * 12 + [self.kill_exec, self.drain_exec, self.kill_web]
        at = 0.0
        while at < seconds:
            at += rng.expovariate(rng.choice([200, 600, 3000]))
            world.at(at, self.ask)
        for _ in range(int(200 * seconds)):
            world.at(rng.random() * seconds, rng.choice(faults))
        for number in range(int(seconds / 0.02) + 50):
            world.at(0.02 * number, self.sweep)
            if number % 5 == 0:
                world.at(0.02 * number, self.refill)
        world.go()

    def sweep(self) -> None:
        for web in self.living():
            web.sweep()

    def refill(self) -> None:
        """What a supervisor does."""
        while len(self.living()) < 3:
            self.new_web()
        while len(self.serving()) < 4:
            self.new_exec()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(25 * SOAK))
def test_whoever_comes_and_goes_nobody_is_forgotten_and_nothing_runs_twice(seed: int) -> None:
    nemesis = Nemesis(seed)
    nemesis.go(0.8)
    verdicts: Counter[str] = Counter()
    for web, call in nemesis.calls:
        assert call.runs <= 1
        assert len(call.verdicts) == (1 if web.alive else min(1, len(call.verdicts)))
        for verdict in call.verdicts:
            verdicts[verdict] += 1
            assert verdict != "done" or call.runs == 1
            assert verdict != "expired" or call.runs == 0
    for web in nemesis.living():
        assert not web.pending
        assert web.dispatch.waiting == 0
        assert all(not link.outstanding for link in web.links)
        assert all(seat.outstanding == 0 and not seat.blocked for seat in web.dispatch.seats)
    for each in nemesis.serving():
        assert not each.admission.running
        assert each.admission.held == 0
        assert not each.admission._kept
    assert verdicts["done"] > 100
    assert verdicts.keys() <= {"done", "busy", "cancelled", "expired", "timeout", "lost"}
