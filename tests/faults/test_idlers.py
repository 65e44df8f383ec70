"""People who only wait, or do not read, cost neither the supervisor its time nor the others their answers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from ipc.messages.control import AskStatus, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

SOAK = "SHUNTER_SOAK" in os.environ
pytestmark = [pytest.mark.fault, pytest.mark.timeout(600 if SOAK else 300)]

IDLE = min(10_000 if SOAK else 1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 200)
"""As many as this machine allows, of the 10,000 that should be possible."""
PER_CONNECTION = 40 * 1024
SLOW = 20
NON_READERS = 10
GENEROUS = 30.0
"""A status takes some milliseconds also then; a busy machine is given more."""


def memory(scene: Scene) -> int:
    """Of all web workers, bytes."""
    web = next(group for group in scene.status().groups if group.name == "web")
    return sum(psutil.Process(worker.pid).memory_info().rss for worker in web.workers)


async def test_who_floods_the_log_or_does_not_read_its_status_holds_up_no_supervisor(serve: Serve) -> None:
    """F46."""
    scene = serve(application="lively", workers=1)
    crowd = scene.crowd()
    with ExitStack() as stack:
        for number in range(NON_READERS):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(scene.state_dir / "control.sock"))
            if number % 2:
                client.sendall(encode(AskStatus()))
        flood = asyncio.create_task(crowd.get("/chatter?ticket=one&seconds=2"))
        took = []
        while not flood.done():
            began = time.monotonic()
            await asyncio.to_thread(scene.status)
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
        assert (await flood).status == 200
    assert took
    assert max(took) < GENEROUS
    assert scene.events("WorkerExited") == []


async def test_a_thousand_who_only_stay_connected_are_no_burden(serve: Serve) -> None:
    """F36; and F35, as far as there is something to stream: answers that nobody reads."""
    scene = serve(application="lively", workers=1)
    crowd = scene.crowd()
    assert {call.code for call in await crowd.load(["/quick"], 100, 0.5)} == {"done"}
    before = memory(scene)
    with ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", scene.port), timeout=GENEROUS))
        assert {call.code for call in await crowd.load(["/quick"], 100, 0.5)} == {"done"}
        assert memory(scene) - before < IDLE * PER_CONNECTION + 16 * 2**20
        for _ in range(SLOW):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", scene.port), timeout=GENEROUS))
            client.sendall(b"GET /large?ticket=one HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert {call.code for call in await crowd.load(["/quick"], 100, 0.5)} == {"done"}
        assert memory(scene) - before < IDLE * PER_CONNECTION + SLOW * 4 * 2**20 + 16 * 2**20
    assert {call.code for call in await crowd.load(["/quick"], 100, 0.5)} == {"done"}
    assert scene.events("WorkerExited") == []
