"""One world from its seed to its end: what is real is put aside while it lasts."""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

from machine import Silent, give_way
from nemesis import Nemesis
from virtual import Violation, World

from ipc import clock
from ipc.link import Link
from ipc.stats import refusals
from supervisor import child, spawn, tether

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = ("ipc", "exec_worker", "supervisor")
AGAIN = "SHUNTER_SEED={seed} .venv/bin/pytest tests/simulation/test_adversary.py -k seed{seed}"
_now, _boot_ms, _Random = clock.now, clock.boot_ms, random.Random


def in_turn(world: World, send: Callable[..., None]) -> Callable[..., None]:
    """The main thread may lose its turn before it says something."""

    def sending(*args: Any, **kwargs: Any) -> None:
        if world.current is not None and world.current.in_main_thread:
            give_way(world.current)
        send(*args, **kwargs)

    return sending


@contextmanager
def unreal(nemesis: Nemesis) -> Iterator[None]:
    """Clocks, chance, descriptors and processes are the world's."""
    world, network = nemesis.world, nemesis.network
    undo: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, what: Any) -> None:
        undo.append((where, name, getattr(where, name)))
        setattr(where, name, what)

    def now() -> float:
        return _now() if world.current is None else world.current.now()

    def boot_ms() -> int:
        assert world.current is not None
        return world.current.boot_ms()

    def dice(seed: Any = None) -> random.Random:
        return _Random(world.rng.random() if seed is None else seed)

    ours = [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in PACKAGES]
    for module, (name, real, unreal) in product(ours, (("now", _now, now), ("boot_ms", _boot_ms, boot_ms))):
        if getattr(module, name, None) is real:
            put(module, name, unreal)
    put(time, "monotonic", now)
    put(random, "Random", dice)
    put(os, "urandom", world.rng.randbytes)
    put(os, "dup", network.dup)
    put(os, "write", network.write)
    put(os, "writev", network.writev)
    put(os, "close", network.close)
    put(child, "_dice", world.rng)
    put(tether, "Output", Silent)
    put(spawn, "Launcher", lambda *_args, **_kwargs: nemesis.service)
    put(Link, "send", in_turn(world, Link.send))
    nemesis.witness.watch(put)
    try:
        yield
    finally:
        world.end()
        for where, name, what in reversed(undo):
            setattr(where, name, what)


def live(seed: int, **mood: Any) -> Nemesis:
    """Live the world of `seed` to its end; Violation, with what led to it, if something happens that must not."""
    nemesis = Nemesis(seed, **mood)
    refusals.clear()
    try:
        with unreal(nemesis):
            nemesis.go()
    except Violation as violation:
        told = "\n".join(nemesis.world.lines[-60:])
        raise Violation(f"{violation}\n{told}\nThe same again: {AGAIN.format(seed=seed)}") from None
    return nemesis


def stories(seeds: list[int]) -> str:
    """What happened in these worlds, as one line to compare."""
    return " ".join(live(seed).world.story for seed in seeds)


if __name__ == "__main__":
    sys.stdout.write(stories([int(seed) for seed in sys.argv[1:]]))
