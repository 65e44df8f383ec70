"""Who hangs is found out and ended, its stacks in the log; who only was not looked at for a while is left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from scene import eventually

from supervisor.pulse import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

GROUPS = "runtime.platform.process_groups"
HUNG = 2.0
SOON = (f"{GROUPS}.web.hung_timeout_seconds={HUNG}", f"{GROUPS}.cpu.hung_timeout_seconds={HUNG}")
GENEROUS = 30.0
LONG = 30.0 if "SHUNTER_SOAK" in os.environ else AWAY + HUNG


@pytest.fixture
def lively(serve: Serve) -> Callable[..., Scene]:
    def one(*settings: str, **options: Any) -> Scene:
        return serve(*settings, application="lively", workers=1, **options)

    return one


def ends(scene: Scene) -> list[dict[str, Any]]:
    return scene.events("WorkerExited")


async def test_a_web_worker_whose_loop_is_blocked_is_ended_with_its_stacks_in_the_log(lively: Serve) -> None:
    """F6."""
    scene = lively(*SOON)
    crowd = scene.crowd()
    hung = asyncio.create_task(crowd.get("/hang?seconds=600"))
    await eventually(lambda: ends(scene))
    end = ends(scene)[0]
    assert end["worker"].startswith("web-")
    assert end["reason"].startswith("killed: its event loop stood still for ")
    assert HUNG <= float(end["reason"].split()[-2]) < HUNG + GENEROUS
    said = [line["text"] for line in scene.events("LineWritten", worker=end["worker"], stream="stderr")]
    assert any("lively.py" in line and "in hang" in line for line in said)
    with pytest.raises((EOFError, OSError)):
        await hung
    await scene.until_full()
    assert {call.code for call in await crowd.load(["/quick"], 20, 0.5)} == {"done"}


async def test_a_web_worker_that_is_stopped_is_ended_and_the_log_says_why_there_are_no_stacks(lively: Serve) -> None:
    """F6."""
    scene = lively(*SOON)
    stopped = scene.pid_of("web")
    os.kill(stopped, signal.SIGSTOP)
    await eventually(lambda: ends(scene))
    assert ends(scene)[0]["reason"].startswith("killed: its event loop stood still for ")
    assert "is stopped, so it cannot print where it stands" in scene.events("Trouble")[0]["what"]
    await scene.until_full()
    assert {call.code for call in await scene.crowd().load(["/quick"], 20, 0.5)} == {"done"}


async def test_a_supervisor_that_was_stopped_ends_nobody_when_it_goes_on(lively: Serve) -> None:
    """F5, F33: also where all were stopped, as when a machine pauses, and the supervisor is the first to go on."""
    scene = lively(*SOON)
    crowd = scene.crowd()
    os.kill(scene.pid, signal.SIGSTOP)
    try:
        told = await crowd.load(["/quick"], 20, LONG)
    finally:
        os.kill(scene.pid, signal.SIGCONT)
    assert {call.code for call in told} == {"done"}
    workers = [worker.pid for group in scene.status().groups for worker in group.workers if worker.pid is not None]
    for pid in (scene.pid, *workers):
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(LONG)
    for pid in (scene.pid, *workers):
        os.kill(pid, signal.SIGCONT)
    scene.status()
    await asyncio.sleep(2 * HUNG)
    assert ends(scene) == []


async def test_a_web_worker_that_is_killed_under_load_costs_its_own_connections_only(lively: Serve) -> None:
    """F3."""
    scene = lively()
    crowd = scene.crowd()
    exec_worker = scene.pid_of("cpu")
    load = asyncio.create_task(crowd.load(["/quick"], 100, 2.0))
    await eventually(lambda: len(crowd.calls) > 50)
    os.kill(scene.pid_of("web"), signal.SIGKILL)
    began = time.monotonic()
    while True:  # whoever comes anew is taken by the other
        try:
            assert (await crowd.get("/wait")).status == 200
            break
        except (EOFError, OSError):  # its place in the queue of the one that died
            assert time.monotonic() - began < GENEROUS
    told = await load
    assert {call.code for call in told} <= {"done", "unanswered"}
    assert told[-1].code == "done"
    await scene.until_full()
    assert scene.pid_of("cpu") == exec_worker
    assert {end["worker"].partition("-")[0] for end in ends(scene)} == {"web"}
