"""Jobs that never end, and workers that die: what it costs those who asked, and everybody else.

The service is the one of the fault tests, with workers forked from a warm template. Other work goes on beside: 100
requests a second, due at fixed times.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults" / "programs"))

from scene import PRELOADED, Scene, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from askers import Crowd
    from history import Asked

ENDLESS = {
    "`while True: pass`": ("/spin", "/endless"),
    "backtracking in `re`": ("/backtrack", "/backtrack_long"),
    "a loop in C through `ctypes.PyDLL`": ("/bessel", "/bessel_long"),
    "an exception is no reason to stop": ("/swallow", "/swallow_long"),
}
"""Jobs that never end: with a deadline of 500 ms, and with one that does not matter."""
OTHERS = ("/quick", "/nap?ms=3")
RATE = 100.0
ROUNDS = 10
WORKERS = 8


class Endless(NamedTuple):
    """Of one kind of job: what its rounds showed, seconds. `replaced` is empty where the worker lives on."""

    told: list[float]
    calm: list[float]
    left: list[float]
    """The same after the client went away."""
    replaced: list[float]
    errors: int
    """Answers to others that were not 200."""


class Deaths(NamedTuple):
    """Of eight workers with one job each, one is killed: seconds, and how many lost what."""

    told: list[float]
    full: list[float]
    errors: list[int]
    errors_idempotent: list[int]
    unready: float
    """How long after the death of all readiness is 503."""
    back: float
    """How long until it is 200 again."""


class Figures(NamedTuple):
    """Both."""

    endless: dict[str, Endless]
    deaths: Deaths


@asynccontextmanager
async def on_scene(workers: int) -> AsyncIterator[Scene]:
    """The service."""
    path = Path(tempfile.mkdtemp())
    scene = Scene(path, PRELOADED, workers=workers)
    try:
        yield scene
        assert scene.violations() == []
        await scene.hang_up()
    finally:
        scene.end()
        shutil.rmtree(path)


async def replaced(scene: Scene, pid: int) -> list[float]:
    """How long the seat of this process, if it has ended, was empty."""
    worker = scene.events("WorkerSpawned", pid=pid)[0]["worker"]
    if not (ends := scene.events("WorkerExited", worker=worker)):
        return []
    seat, _, life = worker.partition("#")
    await eventually(lambda: scene.events("WorkerReady", worker=f"{seat}#{int(life) + 1}"))
    return [scene.events("WorkerReady", worker=f"{seat}#{int(life) + 1}")[0]["at"] - ends[0]["at"]]


async def endless(scene: Scene, short: str, long: str, rounds: int) -> Endless:
    """Jobs of one kind, one after the other."""
    crowd, seen = scene.crowd(), Endless([], [], [], [], 0)
    others = [asyncio.create_task(crowd.load(OTHERS, RATE, rounds * 3.0))]
    for _ in range(rounds):
        call = await crowd.ask(short)
        assert call.code == "timeout", call
        seen.told.append(call.took)
        seen.calm.append(await scene.over(call.ticket) - call.verdicts[0].at)
        await asyncio.sleep(0.1)
        seen.replaced.extend(await replaced(scene, (await scene.begun(call.ticket)).pid))
        call = await crowd.ask(long, leave_after=0.2)
        seen.left.append(await scene.over(call.ticket) - call.verdicts[0].at)
        await scene.until_full()
    told = [call for calls in await asyncio.gather(*others) for call in calls]
    return seen._replace(errors=sum(call.code != "done" for call in told))


async def one_of_eight(scene: Scene, path: str) -> tuple[list[Asked], float, float]:
    """One job in each, one worker killed: all that was said, when it was killed, how long until all are there."""
    crowd = scene.crowd()
    tasks = [asyncio.create_task(crowd.ask(path)) for _ in range(WORKERS)]
    await eventually(lambda: len(crowd.calls) == WORKERS)
    pids = [(await scene.begun(call.ticket)).pid for call in crowd.calls]
    assert len(set(pids)) == WORKERS
    os.kill(pids[0], signal.SIGKILL)
    killed = time.monotonic()
    full = await scene.until_full()
    return await asyncio.gather(*tasks), killed, full


async def deaths(scene: Scene, rounds: int) -> Deaths:
    """One of eight killed, again and again; then all."""
    seen = Deaths([], [], [], [], 0.0, 0.0)
    for _ in range(rounds):
        calls, killed, full = await one_of_eight(scene, "/nap?ms=600")
        lost = [call for call in calls if call.code != "done"]
        seen.told.extend(call.verdicts[0].at - killed for call in lost)
        seen.full.append(full)
        seen.errors.append(len(lost))
        calls, _, full = await one_of_eight(scene, "/nap_again?ms=600")
        seen.errors_idempotent.append(sum(call.code != "done" for call in calls))
    crowd = scene.crowd()
    for worker in scene.up():
        os.kill(worker.pid or -1, signal.SIGKILL)
    killed = time.monotonic()
    unready = await until_ready(crowd, 503) - killed
    return seen._replace(unready=unready, back=await until_ready(crowd, 200) - killed)


async def until_ready(crowd: Crowd, status: int) -> float:
    """Ask until readiness has this status; returns when that was."""
    while (await crowd.get("/readyz")).status != status:
        pass
    return time.monotonic()


def measure(rounds: int = ROUNDS) -> Figures:
    """Everything."""

    async def go() -> Figures:
        async with on_scene(3) as scene:
            jobs = {name: await endless(scene, *paths, rounds) for name, paths in ENDLESS.items()}
        async with on_scene(WORKERS) as scene:
            return Figures(jobs, await deaths(scene, rounds))

    return asyncio.run(go())


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.0f} ({max(times) * 1e3:.0f})" if times else "-"


def table(figures: Figures) -> list[str]:
    """Both as tables."""
    died = figures.deaths
    lines = [
        f"Beside {RATE:g} requests a second of other work; ms, medians and (worst) of {len(died.full)} rounds each.",
        "",
        "| never ends, deadline 500 ms | 504 | CPU gone | after its client left | worker replaced | errors of others |",
        "|---|---|---|---|---|---|",
    ]
    for name, seen in figures.endless.items():
        cells = map(_ms, (seen.told, seen.calm, seen.left, seen.replaced))
        lines.append(f"| {name} | {' | '.join(cells)} | {seen.errors} |")
    lines += [
        "",
        "| of 8 workers with one job each | |",
        "|---|---|",
        f"| one killed: errors (if idempotent) | {max(died.errors)} ({max(died.errors_idempotent)}) |",
        f"| the error comes after, ms | {_ms(died.told)} |",
        f"| 8 are there again after, ms | {_ms(died.full)} |",
        f"| all killed: readiness is 503 after, ms | {died.unready * 1e3:.0f} |",
        f"| and 200 again after, ms | {died.back * 1e3:.0f} |",
    ]
    return lines


def goals(figures: Figures) -> list[tuple[str, float, str]]:
    """The worst of all rounds."""
    kinds, died = list(figures.endless.values()), figures.deaths
    told, calm, left, empty = (
        max((value for seen in kinds for value in getattr(seen, name)), default=float("nan")) * 1e3
        for name in ("told", "calm", "left", "replaced")
    )
    return [
        ("a job that never ends, deadline 500 ms: 504 after, ms", told, "<= 750"),
        ("its CPU is gone after the 504, ms", calm, "<= 1000"),
        ("its CPU is gone after its client left, ms", left, "<= 1000"),
        ("its worker is replaced in, ms", empty, "<= 300"),
        ("errors of others meanwhile", sum(seen.errors for seen in kinds), "0"),
        ("one worker of 8 killed: errors", max(died.errors), "1"),
        ("the same, idempotent", max(died.errors_idempotent), "0"),
        ("the error comes after, ms", max(died.told, default=float("nan")) * 1e3, "<= 100"),
        ("all 8 workers are there again after, ms", max(died.full) * 1e3, "<= 2000"),
        ("all workers killed: readiness 503 after, ms", died.unready * 1e3, "<= 1000"),
    ]


if __name__ == "__main__":
    measured = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    sys.stdout.write("\n".join(table(measured)) + "\n")
    sys.stdout.writelines(f"{what}: {figure:.1f} (goal {goal})\n" for what, figure, goal in goals(measured))
