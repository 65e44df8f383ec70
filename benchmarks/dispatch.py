"""Many web workers that know nothing of one another, beside the one queue they imitate: simulated, and for real.

Simulated: the real `Dispatch` and `Admission` in virtual time, 40 us from worker to worker (tests/simulation). The
ideal is one queue for all workers that knows everything and costs only the way there and back. Beside them, what is
usual: each web worker gives each call at once to the next worker in turn, or to the one that has fewest of its calls.
For real: see `naps`.
"""

from __future__ import annotations

import random
import statistics
import sys
from heapq import heappop, heappush
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from naps import REAL, REAL_LOAD, SECONDS, Naps, napping

sys.path.append(str(Path(__file__).parent.parent / "tests" / "simulation"))

from offered import KINDS, arrivals, beside_long
from world import LEG, Call, World, ideal, mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIZES = ((4, 8), (16, 64))
LOADS = (0.3, 0.8)
CALLS = 30_000
ROUNDS = 3
REALLY = tuple(kind for kind in KINDS if kind != "constant 1 ms")
"""What is asked for real: so many calls of 1 ms as eight workers could serve are more than two cores can bring."""
BESIDE_SECONDS = 30.0
"""Virtual ones: at first nobody knows who runs what."""
GOAL = {"exponential 5 ms": "<= 1.15", "bimodal": "<= 1.15", "constant 1 ms": "<= 1.3"}


class Times(NamedTuple):
    """Latencies, seconds."""

    mean: float
    p50: float
    p99: float


class Case(NamedTuple):
    """One kind of calls at one load, and what it came to under each policy."""

    kind: str
    size: tuple[int, int]
    load: float
    told: dict[str, Times]
    messages: float
    """What Shunter's workers said to one another for each call; two are the least."""


class Beside(NamedTuple):
    """p99 of short calls, one at a time, while all workers but one run long ones, and while nothing else runs."""

    size: tuple[int, int]
    alone: float
    beside: float


def _times(latencies: Sequence[float]) -> Times:
    ordered = sorted(latencies)
    return Times(statistics.fmean(ordered), ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)])


# -- simulated


def simulate(kind: str, size: tuple[int, int], load: float, calls: int, seed: int = 1) -> Case:
    """The same calls under every policy."""
    webs, execs = size
    world = World(seed)
    offered = arrivals(kind, execs, load, calls, world.rng)
    mesh(world, webs, execs)
    for call in offered:
        world.at(call.arrived, world.rng.choice(world.webs).ask, call)
    world.go()
    told = {
        "ideal": _times(ideal(offered, execs)),
        "Shunter": _times([call.ended - call.arrived for call in offered]),
        "least outstanding": _times(_pushed(offered, size, least=True)),
        "round robin": _times(_pushed(offered, size, least=False)),
    }
    return Case(kind, size, load, told, world.said.total() / calls)


def _pushed(calls: list[Call], size: tuple[int, int], *, least: bool) -> Iterator[float]:
    """Latencies where a call goes to a worker at once and waits there, first come, first served."""
    webs, execs = size
    rng = random.Random(1)
    free = [0.0] * execs
    turn = [rng.randrange(execs) for _ in range(webs)]
    outstanding = [[0] * execs for _ in range(webs)]
    answers: list[tuple[float, int, int]] = []
    for call in calls:
        while answers and answers[0][0] <= call.arrived:
            _, web, worker = heappop(answers)
            outstanding[web][worker] -= 1
        web = rng.randrange(webs)
        if least:
            fewest = min(outstanding[web])
            worker = rng.choice([each for each in range(execs) if outstanding[web][each] == fewest])
        else:
            worker = turn[web] = (turn[web] + 1) % execs
        outstanding[web][worker] += 1
        free[worker] = max(free[worker], call.arrived + LEG) + call.takes
        heappush(answers, (free[worker] + LEG, web, worker))
        yield free[worker] + LEG - call.arrived


def simulate_beside(size: tuple[int, int], seconds: float) -> Beside:
    """The two, each in a group of its own."""
    alone, beside = (_times(beside_long(*size, long_ones, seconds)).p99 for long_ones in (0, size[1] - 1))
    return Beside(size, alone, beside)


class Found(NamedTuple):
    """Everything."""

    simulated: list[Case]
    simulated_beside: list[Beside]
    real: list[list[Case]]
    """The rounds of each kind."""
    real_beside: list[Beside]


def measure(rounds: int = ROUNDS, seconds: float = SECONDS, calls: int = CALLS) -> Found:
    """Simulate, then start a service and ask."""
    simulated = [simulate(kind, size, load, calls) for size in SIZES for load in LOADS for kind in KINDS]
    beside = [simulate_beside(size, BESIDE_SECONDS) for size in SIZES]
    with napping() as naps:
        real = [[_real(naps, kind, seconds, seed) for kind in REALLY] for seed in range(rounds)]
        really_beside = [Beside(REAL, *(_times(each).p99 for each in naps.beside_long(seconds))) for _ in range(rounds)]
    return Found(simulated, beside, [list(of_kind) for of_kind in zip(*real, strict=True)], really_beside)


def _real(naps: Naps, kind: str, seconds: float, seed: int) -> Case:
    found = naps.run(kind, seconds, seed)
    ours, best = map(_times, found) if found else (Times(inf, inf, inf), Times(nan, nan, nan))
    return Case(kind, REAL, REAL_LOAD, {"ideal": best, "Shunter": ours}, nan)


# -- told


def _ratio(case: Case, policy: str, pick: Callable[[Times], float]) -> float:
    ours, best = pick(case.told[policy]), pick(case.told["ideal"])
    return ours if ours == inf else ours / best


def _mean(case: Case) -> float:
    return _ratio(case, "Shunter", lambda times: times.mean)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def table(found: Found) -> list[str]:
    """The figures as Markdown."""
    told = [
        "Mean / p50 / p99 of a call's time, each divided by that of the ideal queue for the same calls: one queue for",
        "all workers that knows everything and costs only the way there and back. Simulated: the real objects in",
        f"virtual time, {LEG * 1e6:.0f} us from worker to worker. For real: nodes that sleep; where calls were",
        "refused, these cores cannot carry so many requests.",
        "",
        (
            "| simulated: web x exec workers, load, calls | ideal mean ms | Shunter | messages a call "
            "| least outstanding | round robin |"
        ),
        "|---|---|---|---|---|---|",
    ]
    policies = ("Shunter", "least outstanding", "round robin")
    for case in found.simulated:
        ours, least, robin = (" / ".join(f"{_ratio(case, p, pick):.2f}" for pick in _PICKS) for p in policies)
        told.append(
            f"| {_size(case.size)}, {case.load:.0%}, {case.kind} | {case.told['ideal'].mean * 1e3:.2f} "
            f"| {ours} | {case.messages:.1f} | {least} | {robin} |"
        )
    told += ["", "| for real, medians of the rounds | ideal mean ms | Shunter |", "|---|---|---|"]
    for cases in found.real:
        answered = [case for case in cases if case.told["Shunter"].mean < inf]
        row = "| | calls were refused |"
        if answered:
            best = statistics.median(case.told["ideal"].mean for case in answered) * 1e3
            x = (f"{statistics.median(_ratio(case, 'Shunter', pick) for case in answered):.2f}" for pick in _PICKS)
            row = f"| {best:.2f} | {' / '.join(x)} |"
        told.append(f"| {_size(REAL)}, {REAL_LOAD:.0%}, {cases[0].kind} {row}")
    told += [
        "",
        "Short calls (2 ms, one at a time) while all workers but one run long ones (500 ms), p99 in ms.",
        "",
        "| web x exec workers | alone | beside long calls | x |",
        "|---|---|---|---|",
    ]
    for where, besides in (("simulated", found.simulated_beside), ("for real", [_middle(found.real_beside)])):
        for size, alone, beside in besides:
            told.append(f"| {where}, {_size(size)} | {alone * 1e3:.2f} | {beside * 1e3:.2f} | {beside / alone:.2f} |")
    return told


_PICKS: tuple[Callable[[Times], float], ...] = (
    lambda times: times.mean,
    lambda times: times.p50,
    lambda times: times.p99,
)


def _middle(rounds: list[Beside]) -> Beside:
    return sorted(rounds, key=lambda each: each.beside / each.alone)[len(rounds) // 2]


def goals(found: Found) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    marks = [
        (f"dispatch / ideal queue, mean, simulated {_size(c.size)}, {c.kind}", _mean(c), GOAL[c.kind])
        for c in found.simulated
        if c.load == max(LOADS)
    ]
    marks += [
        (
            f"dispatch / ideal queue, mean, for real {_size(REAL)}, {cases[0].kind}",
            statistics.median(map(_mean, cases)),
            GOAL[cases[0].kind],
        )
        for cases in found.real
    ]
    besides = [("simulated", each) for each in found.simulated_beside] + [("for real", _middle(found.real_beside))]
    marks += [
        (f"short calls beside long / alone, p99, {where} {_size(each.size)}", each.beside / each.alone, "<= 2")
        for where, each in besides
    ]
    return marks


if __name__ == "__main__":
    quick = "--quick" in sys.argv[1:]
    everything = measure(1, 1.0, 5_000) if quick else measure()
    marked = (f"{what}: {figure:.2f} ({goal})" for what, figure, goal in goals(everything))
    print("\n".join((*table(everything), "", *marked)))
