"""A group that follows its load: real workers behind a real web worker, with pauses that are shorter than they are."""

from __future__ import annotations

import os
import threading
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import httpx2 as httpx
import pytest
from stage import PATIENCE, Live, Stage, group, order

from ipc.messages.control import Done, Figures, Refused, Scale
from supervisor import events, scaler, scaling
from supervisor.planning import load_plan
from supervisor.spawn import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.fault

SHOP = """
import time
from exec_worker import node

@node
def nap() -> int:
    time.sleep(0.3)
    return 1
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: web, workers: 1}
      - {name: cpu, stages: [core], workers: {min: 1, max: 3, target_wait_ms: 20}}
  web:
    port: 0
    interfaces: [{kind: http, endpoints: [{path: /nap, node: shop.nap}]}]
discovery: {packages: [shop]}
"""
CLIENTS = 8


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shunter.yaml").write_text(CONFIG)
    monkeypatch.setattr(scaling, "UP_COOLDOWN", 1.0)
    monkeypatch.setattr(scaler, "STEADY", 3.0)
    monkeypatch.setattr(scaler, "Course", partial(scaling.Course, down_after=1.0))
    return Stage(tmp_path)


async def figures(shop: Stage, name: str) -> Figures:
    """Those of a group that calls have gone through."""
    with anyio.fail_after(PATIENCE):
        while True:
            found = (await group(shop, name)).figures
            if found is not None and found.calls_per_second:
                return found
            await anyio.sleep(0.1)


class Load:
    """Clients that ask without a pause, until told to stop."""

    def __init__(self, port: int) -> None:
        self.statuses: list[int] = []
        self._over = threading.Event()
        self._url = f"http://127.0.0.1:{port}/nap"

    def run(self) -> None:
        with httpx.Client(timeout=PATIENCE) as http:
            while not self._over.is_set():
                self.statuses.append(http.get(self._url).status_code)

    def stop(self) -> None:
        self._over.set()


def sizes(live: Live) -> list[int]:
    return [event.workers for event in live.seen(events.GroupScaled, group="cpu")]


def test_it_grows_while_calls_wait_tells_how_long_and_shrinks_when_nobody_does(shop: Stage) -> None:
    seen: list[Figures] = []

    async def story() -> Live:
        plan = load_plan(shop.path / "shunter.yaml", (), os.environ, None)
        async with shop.running(plan, programs=PROGRAMS) as live:
            load = Load((await live.sees(events.Serving)).port)
            assert (await group(shop)).between == (1, 3)
            async with anyio.create_task_group() as tasks:
                for _ in range(CLIENTS):
                    tasks.start_soon(anyio.to_thread.run_sync, load.run)
                try:
                    await live.until(lambda: sizes(live)[-1:] == [3])
                    await live.sees(events.WorkerReady, worker="cpu-2#1")
                    seen.extend([await figures(shop, "cpu"), await figures(shop, "web")])
                finally:
                    load.stop()
            await live.until(lambda: sizes(live)[-1:] == [1])
            assert set(load.statuses) == {200}
            return live

    live = anyio.run(story)
    went = [1, *sizes(live)]
    assert max(went) == 3
    assert all(after in {before - 1, before + 1, 2 * before} for before, after in pairwise(went))
    cpu, web = seen
    assert cpu.latency_p50_ms > 240
    assert cpu.wait_p99_ms > 20
    assert web.latency_p99_ms > 240


def test_whoever_scales_it_by_hand_is_obeyed_within_its_bounds_and_for_a_while(shop: Stage) -> None:
    async def story() -> None:
        plan = load_plan(shop.path / "shunter.yaml", (), os.environ, None)
        async with shop.running(plan, programs=PROGRAMS) as live:
            await live.sees(events.Serving)
            for number in (0, 4):
                told = f"cpu follows its load between 1 and 3 workers, and {number} is not in between"
                assert await order(shop, Scale("cpu", number)) == Refused(told, usage=True)
            assert await order(shop, Scale("cpu", 2)) == Done("cpu has 2 workers now, not 1")
            await anyio.sleep(3 * scaler.LOOK_EVERY)
            assert len((await group(shop)).workers) == 2
            assert live.seen(events.GroupScaled)[-1].reason == "asked for"

    anyio.run(story)
