"""Of eight workers with one job each, one dies, or all: who loses what."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from scene import PRELOADED, eventually

if TYPE_CHECKING:
    from history import Asked
    from scene import Scene

pytestmark = pytest.mark.fault

WORKERS = 8
SETTINGS = (PRELOADED,)


async def one_each(scene: Scene, path: str, count: int) -> tuple[list[int], list[asyncio.Task[Asked]]]:
    """So many calls, each in a worker of its own, and those workers."""
    crowd = scene.crowd()
    calls = [asyncio.create_task(crowd.ask(path)) for _ in range(count)]
    await eventually(lambda: len(crowd.calls) == count)
    pids = [(await scene.begun(call.ticket)).pid for call in crowd.calls]
    assert len(set(pids)) == count
    return pids, calls


@pytest.mark.parametrize(("path", "cost"), [("/nap", 1), ("/nap_again", 0)])
async def test_one_dead_worker_of_eight_costs_its_one_job(scene: Scene, path: str, cost: int) -> None:
    pids, calls = await one_each(scene, f"{path}?ms=4000", 8)
    os.kill(pids[3], signal.SIGKILL)
    died = time.monotonic()
    told = [call.code for call in await asyncio.gather(*calls)]
    assert Counter(told) == Counter({"done": 8 - cost, "worker_died": cost})
    if cost:
        assert told[3] == "worker_died"
        assert calls[3].result().verdicts[0].at - died < 3.0
    await scene.until_full()
    assert scene.violations() == []


async def test_when_all_workers_are_dead_the_service_says_so_and_recovers_alone(scene: Scene) -> None:
    crowd = scene.crowd()
    scene.import_will("wait")
    pids, calls = await one_each(scene, "/nap?ms=5000", 8)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert {call.code for call in await asyncio.gather(*calls)} == {"worker_died"}
    assert (await crowd.get("/readyz")).status == 503
    assert (await crowd.get("/healthz")).status == 200
    waits = asyncio.create_task(crowd.ask("/nap?ms=1"))
    await asyncio.sleep(0.1)
    scene.import_will("")
    assert (await waits).code == "done"  # it could wait for so long
    await scene.until_full()
    assert (await crowd.get("/readyz")).status == 200
    assert scene.violations() == []
