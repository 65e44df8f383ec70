"""Very many clients: those who leave, those who are too many, and those who never stop coming."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from askers import Crowd
from scene import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from history import Asked
    from scene import Scene

    Serve = Callable[..., Scene]

SOAK = "SHUNTER_SOAK" in os.environ
pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800 if SOAK else 300)]

LEAVERS = 10_000 if SOAK else 300
QUEUED = 100_000 if SOAK else 1_500
PLACES = 256
REQUESTS = 1_000_000 if SOAK else 4_000
CREEP = 1024 * max(1024, REQUESTS // 1000)
"""Bytes by which a worker may have grown after so many requests: 1 KiB for 1,000, and what its allocator rounds up."""


def rss(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


async def test_a_slot_is_free_soon_after_its_client_left(scene: Scene) -> None:
    crowd = scene.crowd()
    await asyncio.gather(*(crowd.ask("/nap?ms=9000", leave_after=0.3) for _ in range(2)))
    asked = await asyncio.gather(*(crowd.ask("/quick") for _ in range(2)))
    assert {call.code for call in asked} == {"done"}  # 5 s is all the time they had, and the naps would be longer
    assert scene.violations() == []


@pytest.mark.soak
async def test_clients_that_leave_leave_nothing_behind(scene: Scene) -> None:
    crowd, web = scene.crowd(), scene.pid_of("web")
    await crowd.load(["/quick"], 100, 0.5)
    had, descriptors = rss(web), psutil.Process(web).num_fds()

    async def leave() -> None:
        for _ in range(LEAVERS // 20):
            await crowd.ask("/nap?ms=20", leave_after=crowd.dice.uniform(0.001, 0.03))

    await asyncio.gather(*(leave() for _ in range(20)))
    await eventually(lambda: psutil.Process(web).num_fds() <= descriptors)
    await eventually(lambda: all(worker.running == 0 for worker in scene.up()))
    assert rss(web) - had < 16 * 1024 * 1024
    assert {call.code for call in await crowd.load(["/quick", "/nap?ms=2"], 100, 0.5)} == {"done"}
    assert scene.violations() == []


@pytest.mark.soak
async def test_a_queue_has_an_end_and_whoever_is_in_it_has_his_turn(serve: Serve) -> None:
    scene = serve(f"runtime.web.queue.calls={PLACES}")
    crowd, web = scene.crowd(), scene.pid_of("web")
    await crowd.load(["/quick"], 100, 0.5)
    had = rss(web)

    async def ask() -> list[Asked]:
        return [await crowd.ask("/nap?ms=2") for _ in range(QUEUED // 500)]

    calls = [call for calls in await asyncio.gather(*(ask() for _ in range(500))) for call in calls]
    told = Counter(call.code for call in calls)
    assert told.keys() == {"done", "busy"}, told
    assert told["done"] >= PLACES
    assert max(call.took for call in calls) < 10.0  # nobody who has a place is passed by for ever
    assert rss(web) - had < 64 * 1024 * 1024
    await asyncio.sleep(0.5)
    calm = await crowd.load(["/quick"], 50, 1.0)
    assert {call.code for call in calm} == {"done"}
    assert sorted(call.took for call in calm)[len(calm) // 2] < 0.25
    assert scene.violations() == []


@pytest.mark.soak
async def test_requests_without_end_need_no_memory_without_end(scene: Scene) -> None:
    workers = [scene.pid_of("web"), *(worker.pid for worker in scene.up() if worker.pid is not None)]

    async def ask(count: int) -> None:
        crowd = Crowd(scene.port, {"/nothing": 5.0})
        for _ in range(count):
            await crowd.ask("/nothing")
            assert crowd.calls.pop().code == "done"
        await crowd.close()

    async def many(count: int) -> None:
        await asyncio.gather(*(ask(count // 8) for _ in range(8)))

    await many(max(1_000, REQUESTS // 20))  # until pools, caches and the allocator have what they keep
    before = {pid: rss(pid) for pid in workers}
    began = time.monotonic()
    await many(REQUESTS)
    grown = {pid: rss(pid) - before[pid] for pid in workers}
    print(f"{REQUESTS} requests in {time.monotonic() - began:.0f} s, grown by {list(grown.values())}")  # noqa: T201
    assert max(grown.values()) < CREEP
