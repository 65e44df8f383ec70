"""More than one call at once in a worker: in threads, and as tasks of an event loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from detached import Service, application, shunter, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

THREADS, LOOP = '@node(stage="threads")', '@node(stage="loop")'
SHOP = """
import asyncio, os, threading, time
from pathlib import Path
from exec_worker import current, node, on_worker_start, on_worker_stop

here = 0
meeting = threading.Barrier(3)

@node(stage="threads")
def meet(who: str) -> str:
    meeting.wait(20)
    return f"{who} {current().request_id} {os.getpid()}"

@node(stage="threads")
def spin() -> int:
    while True:
        pass

@node(stage="loop")
async def gather(who: str) -> str:
    global here
    here += 1
    while here % 10:
        await asyncio.sleep(0.001)
    return f"{who} {current().request_id} {os.getpid()}"

@node(stage="loop")
async def sleep(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()

@node(stage="loop")
async def block() -> int:
    Path(__file__).with_name("blocks").touch()
    time.sleep(60)
"""
HOOKS = """
pool = None

@on_worker_start
async def connect() -> None:
    global pool
    pool = asyncio.get_running_loop()

@node(stage="loop")
async def same() -> bool:
    return pool is asyncio.get_running_loop()
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: web, workers: 1}
      - {name: threads, stages: [threads], slots: 3}
      - {name: loop, stages: [loop], mode: async, slots: 10}
  web:
    interfaces:
      - kind: http
        endpoints:
          - {path: /meet, node: shop.meet}
          - {path: /spin, node: shop.spin, timeout_seconds: 0.3}
          - {path: /gather, node: shop.gather}
          - {path: /sleep, node: shop.sleep}
          - {path: /short, node: shop.sleep, timeout_seconds: 0.2}
          - {path: /block, node: shop.block, timeout_seconds: 1.5}
          - {path: /same, node: shop.same}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("modes")
    # Hooks are the process's: in a group of threads nobody could await these.
    config = application(directory, SHOP, CONFIG.replace("          - {path: /same, node: shop.same}\n", ""))
    service = Service(config, directory / "state")
    yield service
    service.end()


@pytest.mark.parametrize(("path", "count"), [("/meet", 3), ("/gather", 10)])
def test_as_many_calls_run_side_by_side_as_there_are_slots(service: Service, path: str, count: int) -> None:
    def ask(number: int) -> str:
        answer = service.http.get(path, params={"who": f"n{number}"}, headers={"x-request-id": f"r{number}"})
        assert answer.status_code == 200, answer.text
        return answer.json().rpartition(" ")[0]

    with ThreadPoolExecutor(count) as threads:
        for _ in range(3):
            assert list(threads.map(ask, range(count))) == [f"n{number} r{number}" for number in range(count)]


@pytest.mark.parametrize(("path", "group"), [("/spin", "threads"), ("/short?seconds=30", "loop")])
def test_a_call_is_ended_at_its_deadline_and_its_worker_lives(service: Service, path: str, group: str) -> None:
    (before,) = service.workers(group)
    with ThreadPoolExecutor(2) as threads:
        assert [answer.status_code for answer in threads.map(service.http.get, [path, path])] == [504, 504]
    until(lambda: service.workers(group)[0]["running"] == 0)
    assert service.workers(group)[0]["pid"] == before["pid"]


def test_a_coroutine_that_blocks_ends_with_its_worker_and_with_what_had_begun_there(service: Service) -> None:
    """Nothing in its loop can be interrupted any more. What had not begun begins in the next worker."""
    (before,) = service.workers("loop")
    with ThreadPoolExecutor(3) as threads:
        begun = threads.submit(service.http.get, "/sleep?seconds=25")
        until(lambda: service.workers("loop")[0]["running"] == 1)
        blocks = threads.submit(service.http.get, "/block")
        until((service.state_dir.parent / "blocks").exists)
        not_begun = threads.submit(service.http.get, "/sleep?seconds=0")
        assert blocks.result().status_code == 504
        assert (begun.result().status_code, begun.result().json()["code"]) == (502, "worker_died")
        assert not_begun.result().json() != before["pid"]


def test_plain_functions_and_coroutines_are_told_apart_before_anything_starts(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("mode: async, ", ""))
    told = shunter("check", "-c", str(config))
    assert told.returncode != 0
    assert "is `async def`" in told.stdout + told.stderr


def test_hooks_and_nodes_share_a_loop_and_stopping_waits_for_calls(tmp_path: Path) -> None:
    out = ("name: threads", "shop.meet", "shop.spin")
    config = "\n".join(line for line in CONFIG.splitlines() if not any(part in line for part in out))
    shop = SHOP[: SHOP.index(THREADS)] + SHOP[SHOP.index(LOOP) :]
    service = Service(application(tmp_path, shop + HOOKS, config), tmp_path / "state")
    try:
        assert service.http.get("/same").json() is True
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(service.http.get, "/sleep", params={"seconds": 2.0})
            until(lambda: service.workers("loop")[0]["running"] == 1)
            assert shunter("stop", *service.state).returncode == 0
            assert answer.result().status_code == 200
    finally:
        service.end()
