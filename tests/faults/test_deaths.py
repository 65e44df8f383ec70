"""What ends a worker costs what that worker was running, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from scene import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault


async def heard_of(scene: Scene, spawned: int) -> None:
    """Wait until so many workers were started and the web worker knows why: it is told before it answers again."""
    await eventually(lambda: len(scene.events("WorkerSpawned")) >= spawned)
    await scene.until_full()
    assert (await scene.crowd().ask("/quick")).code == "done"


async def test_a_worker_that_was_idle_dies_unnoticed(scene: Scene) -> None:
    crowd = scene.crowd()
    for worker in scene.up():
        os.kill(worker.pid or -1, signal.SIGKILL)
        told = await crowd.load(["/quick", "/nap?ms=2"], 100, 0.4)
        assert {call.code for call in told} == {"done"}
        await scene.until_full()
    assert scene.violations() == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/segfault", "killed by SIGSEGV"),
        ("/abort", "killed by SIGABRT"),
        ("/leave", "exited with code 0"),
    ],
)
async def test_a_node_that_ends_its_process_costs_its_own_call(scene: Scene, path: str, reason: str) -> None:
    crowd = scene.crowd()
    neighbour = asyncio.create_task(crowd.ask("/nap?ms=300"))
    call = await crowd.ask(path)
    assert call.code == "worker_died"
    assert (await neighbour).code == "done"
    pid = (await scene.begun(call.ticket)).pid
    (born,) = scene.events("WorkerSpawned", pid=pid)
    assert scene.sees("WorkerExited", worker=born["worker"])["reason"].startswith(reason)
    await scene.until_full()
    assert scene.violations() == []


async def test_a_call_that_kills_whoever_runs_it_is_not_given_to_a_third(scene: Scene) -> None:
    crowd = scene.crowd()
    spawned = len(scene.events("WorkerSpawned"))
    call = await crowd.ask("/segfault_again")
    assert call.code == "worker_died"
    await scene.until_full()
    assert len([effect for effect in scene.effects() if effect.ticket == call.ticket]) == 2
    assert len(scene.events("WorkerSpawned")) == spawned + 2
    assert scene.violations() == []


async def test_a_request_that_kills_its_worker_is_refused_after_the_second_time(scene: Scene) -> None:
    """However often its client sends it again; others of the same node are none of it."""
    crowd = scene.crowd()
    spawned = len(scene.events("WorkerSpawned"))
    told = []
    for more in (1, 2, 2, 2):
        told.append((await crowd.ask("/poison?dose=10")).code)
        await heard_of(scene, spawned + more)
    assert told == ["worker_died", "worker_died", "quarantined", "quarantined"]
    assert (await crowd.ask("/quick")).code == "done"
    await scene.until_full()
    assert len(scene.events("WorkerSpawned")) == spawned + 2
    assert scene.violations() == []


async def test_and_leaving_before_it_does_is_no_way_around_that(scene: Scene) -> None:
    crowd = scene.crowd()
    spawned = len(scene.events("WorkerSpawned"))
    for more in (1, 2):
        assert (await crowd.ask("/spite?dose=10", leave_after=0.3)).code == "left"
        await heard_of(scene, spawned + more)
    assert (await crowd.ask("/spite?dose=10")).code == "quarantined"
    assert (await crowd.ask("/quick")).code == "done"
    assert scene.violations() == []


async def test_a_node_that_asks_the_interpreter_to_end_ends_its_call(scene: Scene) -> None:
    before = {worker.pid for worker in scene.up()}
    call = await scene.crowd().ask("/sysexit")
    assert call.code == "node_error"
    assert {worker.pid for worker in scene.up()} == before
    assert scene.violations() == []


async def test_an_application_that_no_longer_imports_is_tried_until_it_does(serve: Serve) -> None:
    scene = serve(workers=2, policy={"limit": 100, "base": 0.05, "cap": 0.1})
    crowd = scene.crowd()
    scene.import_will("raise")
    for worker in scene.up():
        os.kill(worker.pid or -1, signal.SIGKILL)
    said = scene.sees("WorkerExited", count=4)
    assert "there is no such hazard" in said["traceback"]
    assert (await crowd.get("/readyz")).status == 503
    assert (await crowd.get("/healthz")).status == 200
    scene.import_will("")
    await scene.until_full()
    assert (await crowd.ask("/quick")).code == "done"
