"""What workers are asked to do: calls that arrive at random, of three kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from world import Call

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
