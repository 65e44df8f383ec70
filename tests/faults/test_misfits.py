"""Results that cannot be sent, threads that stay behind, clients without number: each costs only its own."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from scene import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scene import Scene

pytestmark = pytest.mark.fault


@pytest.fixture
def scarce() -> Iterator[object]:
    """Sets what a running process may have of something, until the test is over."""
    before: list[tuple[int, int, tuple[int, int]]] = []

    def limit(pid: int, what: int, amount: int) -> None:
        had = resource.prlimit(pid, what)
        before.append((pid, what, had))
        resource.prlimit(pid, what, (amount, had[1]))

    yield limit
    for pid, what, had in before:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, what, had)


@pytest.mark.parametrize("path", ["/huge", "/strange"])
async def test_a_result_that_cannot_be_sent_is_an_error_of_its_node(scene: Scene, path: str) -> None:
    before = {worker.pid for worker in scene.up()}
    call = await scene.crowd().ask(path)
    assert (call.verdicts[0].status, call.code) == (500, "bad_result")
    assert {worker.pid for worker in scene.up()} == before
    assert {call.code for call in await scene.crowd().load(["/quick"], 50, 0.2)} == {"done"}
    assert scene.violations() == []


async def test_more_clients_than_descriptors_are_turned_away_and_the_rest_is_served(
    scene: Scene, scarce: object
) -> None:
    crowd, web = scene.crowd(), scene.pid_of("web")
    assert (await crowd.ask("/quick")).code == "done"  # its connection is open now
    scarce(web, resource.RLIMIT_NOFILE, psutil.Process(web).num_fds() + 40)
    lines = [await asyncio.open_connection("127.0.0.1", scene.port) for _ in range(300)]
    await asyncio.sleep(0.2)
    used = cpu_seconds(web)
    await asyncio.sleep(1.0)
    assert cpu_seconds(web) - used < 0.4  # it does not try again and again
    assert (await crowd.ask("/quick")).code == "done"
    for _, writer in lines:
        writer.transport.abort()
    await asyncio.sleep(0.5)
    assert (await crowd.get("/healthz")).status == 200
    assert scene.violations() == []


async def test_threads_that_a_node_leaves_behind_hold_up_nothing(scene: Scene) -> None:
    assert {call.code for call in await scene.crowd().load(["/threads", "/quick"], 20, 0.5)} == {"done"}
    assert scene.violations() == []
