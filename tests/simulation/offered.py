"""What workers are asked to do: calls that arrive at random, of three kinds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from world import Call, World, mesh

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


class Kind(NamedTuple):
    """How long calls take: on average, and each. Seconds."""

    mean: float
    takes: Callable[[random.Random], float]


KINDS = {
    "exponential 5 ms": Kind(0.005, lambda rng: rng.expovariate(1 / 0.005)),
    "bimodal": Kind(0.99 * 0.002 + 0.01 * 0.5, lambda rng: 0.5 if rng.random() < 0.01 else 0.002),
    "constant 1 ms": Kind(0.001, lambda _rng: 0.001),
}
"""Bimodal: 99 of 100 take 2 ms, one takes 500."""


def arrivals(kind: str, servers: int, load: float, count: int, rng: random.Random) -> list[Call]:
    """Calls that come one by one, whatever became of those before; `load` is the part of all servers they keep busy."""
    mean, takes = KINDS[kind]
    time, calls = 0.0, []
    for _ in range(count):
        time += rng.expovariate(load * servers / mean)
        calls.append(Call(time, takes(rng)))
    return calls


SHORT, LONG = 0.002, 0.5


def beside_long(webs: int, execs: int, long_ones: int, seconds: float, seed: int = 1) -> list[float]:
    """Callers that ask again as soon as they are answered, one of them for short calls: what those took."""
    world, times = World(seed), list[float]()
    mesh(world, webs, execs)

    def ask(takes: float, over: Call | None = None) -> None:
        if over is not None and takes == SHORT:
            times.append(over.ended - over.arrived)
        world.rng.choice(world.webs).ask(Call(world.now, takes, then=partial(ask, takes)))

    for _ in range(long_ones):
        world.at(world.rng.random() * LONG, ask, LONG)
    world.at(LONG, ask, SHORT)
    world.go(seconds)
    return times
