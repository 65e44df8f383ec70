"""Calls that never end are ended: at their deadline, or when their client has left. Whatever they do, it is theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from scene import PRELOADED, eventually
from watched import runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

OTHERS = ["/quick", "/nap?ms=3"]
GENEROUS = 30.0
"""Longer than it takes on the busiest machine."""


@pytest.mark.parametrize("path", ["/spin", "/backtrack", "/bessel", "/swallow"])
async def test_a_call_that_never_ends_gets_its_answer_and_is_ended(scene: Scene, path: str) -> None:
    crowd = scene.crowd()
    others = asyncio.create_task(crowd.load(OTHERS, 100, 1.2))
    call = await crowd.ask(path)
    verdict = call.verdicts[0]
    assert (verdict.status, verdict.code) == (504, "timeout")
    assert await scene.over(call.ticket) - verdict.at < GENEROUS
    assert {call.code for call in await others} == {"done"}
    await scene.until_full()
    assert scene.violations() == []


@pytest.mark.parametrize("path", ["/endless", "/backtrack_long", "/bessel_long", "/swallow_long"])
async def test_a_call_whose_client_has_left_is_ended(scene: Scene, path: str) -> None:
    crowd = scene.crowd()
    others = asyncio.create_task(crowd.load(OTHERS, 100, 1.2))
    call = await crowd.ask(path, leave_after=0.4)
    left = time.monotonic()
    assert await scene.over(call.ticket) - left < GENEROUS
    assert {call.code for call in await others} == {"done"}
    await scene.until_full()
    assert scene.violations() == []


async def test_what_it_was_at_is_in_the_log_even_if_it_let_nobody_in(scene: Scene) -> None:
    call = await scene.crowd().ask("/bessel")
    born = scene.events("WorkerSpawned", pid=(await scene.begun(call.ticket)).pid)[0]
    end = scene.sees("WorkerExited", worker=born["worker"])
    assert "a call still ran after" in end["reason"]
    assert any("hazards.py" in line and "bessel" in line for line in end["last_words"]), end
    await scene.until_full()


async def test_workers_that_are_ended_for_their_calls_are_never_given_up(serve: Serve) -> None:
    """It is the calls that are endless; the worker has done nothing wrong."""
    scene = serve(PRELOADED, workers=1, policy={"limit": 2})
    crowd = scene.crowd()
    for _ in range(4):
        call = await crowd.ask("/bessel")
        assert call.code == "timeout"
        pid = (await scene.begun(call.ticket)).pid
        await eventually(lambda pid=pid: not runs(pid))
        assert await scene.until_full() < GENEROUS
    assert (await crowd.ask("/quick")).code == "done"
    assert scene.violations() == []


async def test_a_worker_that_is_stopped_within_a_call_is_replaced(scene: Scene) -> None:
    crowd = scene.crowd()
    asked = asyncio.create_task(crowd.ask("/short?ms=200"))
    await eventually(lambda: crowd.calls)
    pid = (await scene.begun(crowd.calls[0].ticket)).pid
    os.kill(pid, signal.SIGSTOP)
    assert (await asked).code == "timeout"
    await eventually(lambda: pid not in {worker.pid for worker in scene.up()})
    await scene.until_full()
    assert scene.violations() == []


async def test_a_worker_that_is_stopped_between_calls_is_replaced(serve: Serve) -> None:
    scene = serve("runtime.platform.process_groups.cpu.hung_timeout_seconds=1")
    stopped = scene.pid_of("cpu")
    os.kill(stopped, signal.SIGSTOP)
    await eventually(lambda: not runs(stopped))
    assert "is stopped" in scene.sees("Trouble")["what"]
    await scene.until_full()
    crowd = scene.crowd()
    assert {call.code for call in await crowd.load(["/quick"], 50, 0.5)} == {"done"}
    assert scene.violations() == []


async def test_a_node_that_takes_no_signal_does_not_hold_up_the_end(serve: Serve) -> None:
    scene = serve("runtime.platform.process_groups.cpu.drain_timeout_seconds=1", "runtime.web.drain_timeout_seconds=1")
    crowd = scene.crowd()
    asked = asyncio.create_task(crowd.ask("/swallow_long"))
    await eventually(lambda: crowd.calls)
    await scene.begun(crowd.calls[0].ticket)
    began = time.monotonic()
    scene.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(scene.ends) == 0
    assert time.monotonic() - began < GENEROUS
    await asked
    assert scene.violations() == []
