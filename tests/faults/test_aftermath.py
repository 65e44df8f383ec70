"""A supervisor that is killed takes everything with it: workers, what they started, and what fled from them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from watched import environment_of, free, runs

from supervisor import aftermath
from supervisor.warden import LEAST_LIFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

SOAK = "SHUNTER_SOAK" in os.environ
MOMENTS = 200 if SOAK else 2
PRELOAD = "runtime.platform.process_groups.cpu.preload=true"
GENEROUS = 30.0
"""It takes a few milliseconds; a busy machine is given more."""


@pytest.fixture
def lively(serve: Serve) -> Callable[..., Scene]:
    def one(*settings: str, **options: Any) -> Scene:
        return serve(*settings, application="lively", workers=1, **options)

    return one


async def family(scene: Scene) -> list[int]:
    """What a node has started: in its worker's process group, in a session of its own, as a daemon, and forked."""
    answer = await scene.crowd().get("/family?ticket=one")
    assert answer.status == 200, answer.body
    return [int(pid) for pid in answer.body.strip(b"[]").split(b",")]


def everybody(mark: str) -> list[int]:
    """All processes of a service."""
    return [pid for pid in psutil.pids() if mark in environment_of(pid) and runs(pid)]


@pytest.mark.parametrize("settings", [(), (PRELOAD,)], ids=["exec", "fork"])
async def test_a_killed_supervisor_takes_what_workers_started_with_it(lively: Serve, settings: tuple[str, ...]) -> None:
    """F4: also where the worker can do nothing any more, and the service has no privileges, as it should."""
    scene = lively(*settings, bare=True)
    left = await family(scene)
    assert all(map(runs, left))
    helpers = [child.pid for child in psutil.Process(scene.pid).children()]
    os.kill(scene.pid_of("cpu"), signal.SIGSTOP)
    scene.process.kill()
    began = time.monotonic()
    scene.until(lambda: not any(map(runs, [*left, *scene.pids(), *helpers])) and free(scene.port))
    assert time.monotonic() - began < GENEROUS


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 300)
async def test_a_supervisor_killed_at_any_moment_of_a_service_s_life_leaves_nothing(lively: Serve) -> None:
    """P6: over what the one before left behind the next one starts at once."""
    dice = random.Random()
    for _ in range(MOMENTS):
        scene = lively(PRELOAD)
        if dice.random() < 0.5:
            await family(scene)
            os.kill(scene.pid_of("cpu"), signal.SIGKILL)  # so that another is being made
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        scene.process.kill()
        scene.process.wait()
        began = time.monotonic()
        scene.until(lambda path=str(scene.path): not everybody(path))
        assert time.monotonic() - began < GENEROUS


async def test_the_one_who_sees_to_that_is_replaced_when_it_is_gone(lively: Serve) -> None:
    scene = lively()
    left = await family(scene)

    def wardens() -> list[int]:
        found = []
        for child in psutil.Process(scene.pid).children():
            with suppress(psutil.Error):  # it has just ended
                found += [child.pid] if aftermath.__file__ in child.cmdline() else []
        return found

    (first,) = wardens()
    time.sleep(1.5 * LEAST_LIFE)  # noqa: ASYNC251 - or it would be taken for one that cannot live
    os.kill(first, signal.SIGKILL)
    scene.until(lambda: [pid for pid in wardens() if pid != first])
    scene.process.kill()
    scene.until(lambda: not any(map(runs, [*left, *scene.pids()])))


async def test_a_stop_ends_who_fled_and_leaves_nobody_who_waits_for_the_next(lively: Serve) -> None:
    """F45."""
    scene = lively()
    left = await family(scene)
    helpers = [child.pid for child in psutil.Process(scene.pid).children()]
    scene.process.send_signal(signal.SIGTERM)
    assert scene.ends() == 0
    assert not any(map(runs, [*left, *scene.pids(), *helpers]))


async def test_zombies_of_strangers_are_reaped_and_workers_keep_their_exit_codes(lively: Serve) -> None:
    """F43."""
    scene = lively()

    def zombies() -> list[int]:
        return [child.pid for child in psutil.Process(scene.pid).children() if not runs(child.pid)]

    assert (await scene.crowd().get("/zombies?ticket=one")).status == 200
    scene.until(lambda: len(psutil.Process(scene.pid).children()) == 4 and not zombies())
    worker = scene.pid_of("cpu")
    os.kill(worker, signal.SIGSEGV)
    assert scene.sees("WorkerExited")["reason"].startswith("killed by SIGSEGV")
    scene.until(lambda: not zombies())
