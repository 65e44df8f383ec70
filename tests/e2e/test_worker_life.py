"""What an application may do at the beginning and the end of a worker, in whole services."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from detached import Service, application, shunter, under_load, until

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2 as httpx

pytestmark = pytest.mark.e2e

SHOP = """
import os, threading, time
from pathlib import Path
from exec_worker import node, on_worker_start, on_worker_stop

model = None

def note(what: str) -> None:
    with Path(__file__).with_name("notes").open("a") as notes:
        main = threading.current_thread() is threading.main_thread()
        notes.write(f"{os.getpid()} {what} {'main' if main else 'other'}\\n")

@on_worker_start
def load() -> None:
    global model
    model = os.getpid()
    note("load")

@on_worker_stop
def close() -> None:
    note("close")

@on_worker_stop
def fails() -> None:
    raise OSError("the pool is gone")

@node
def ask() -> int | None:
    return model

@node(cancel="ignore")
def nap(seconds: float) -> int | None:
    note("nap")
    time.sleep(seconds)
    return model

kept = []

@node
def leak(mebibytes: int = 4) -> int:
    kept.append(os.urandom(1) * (mebibytes << 20))
    return len(kept)
"""
CONFIG = """
runtime:
  platform:
    execution_ipc: {transport: TRANSPORT}
    process_groups:
      - {name: cpu, workers: 2, stages: [core], drain_timeout_seconds: 1}
  web:
    interfaces: [{kind: http, endpoints: [ENDPOINTS]}]
""".replace("ENDPOINTS", ", ".join(f"{{path: /{name}, node: shop.{name}}}" for name in ("ask", "nap", "leak")))


def notes(directory: Path, pid: int) -> list[str]:
    lines = [line.split(" ", 1) for line in (directory / "notes").read_text().splitlines()]
    return [what for who, what in lines if int(who) == pid]


def logged(service: Service, event: str) -> list[dict[str, object]]:
    lines = shunter("logs", "--json", *service.state, "-n", "1000").stdout.splitlines()
    return [line for line in map(json.loads, lines) if line.get("event") == event]


def test_hooks_run_in_each_worker_before_its_first_call_and_after_its_last(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    service = Service(config, tmp_path / "state")
    try:
        pids = [worker["pid"] for worker in service.workers("cpu")]
        assert service.http.get("/ask").json() in pids
        assert [notes(tmp_path, pid) for pid in pids] == [["load main"]] * 2
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: service.workers("cpu")[0]["incarnation"] == 2 and service.workers("cpu")[0]["state"] == "up")
        assert shunter("restart", "cpu", *service.state).returncode == 0
        assert notes(tmp_path, pids[0]) == ["load main"]  # a worker that is killed says no goodbye
        assert notes(tmp_path, pids[1]) == ["load main", "close main"]
        (failed, _) = logged(service, "stop_hook_failed")
        assert failed["hook"] == "shop.fails"
    finally:
        service.end()


def test_hooks_run_in_forked_workers_and_never_in_what_they_are_forked_from(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    service = Service(config, tmp_path / "state", "--set", "runtime.platform.process_groups.cpu.preload=true")
    try:
        pids = [worker["pid"] for worker in service.workers("cpu")]
        assert service.http.get("/ask").json() in pids
        assert shunter("stop", *service.state).returncode == 0
        said = [line.split(" ", 1) for line in (tmp_path / "notes").read_text().splitlines()]
        assert {int(pid) for pid, _ in said} <= set(pids)
        assert sorted(what for _, what in said if what.endswith("main")) == ["close main"] * 2 + ["load main"] * 2
    finally:
        service.end()


def test_hooks_run_once_for_all_workers_that_are_threads_of_one_process(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "memory"))
    service = Service(config, tmp_path / "state")
    try:
        (web,) = service.workers("web")
        assert service.http.get("/ask").json() == web["pid"]
        assert shunter("stop", *service.state).returncode == 0
        assert notes(tmp_path, web["pid"]) == ["load main", "close other"]
    finally:
        service.end()


def test_a_start_hook_that_raises_is_told_with_its_traceback(tmp_path: Path) -> None:
    broken = SHOP.replace("model = os.getpid()", "raise FileNotFoundError('model.bin')")
    config = application(tmp_path, broken, CONFIG.replace("TRANSPORT", "tcp_local"))
    started = shunter("start", "-c", str(config), "--state-dir", str(tmp_path / "state"), "--set", "runtime.web.port=0")
    assert started.returncode == 2, started
    said = started.stdout + started.stderr
    assert "shop.load (on_worker_start) raised FileNotFoundError: model.bin" in said
    assert "in load" in said


def test_an_async_hook_of_a_group_without_a_loop_is_found_before_a_start(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP.replace("def close", "async def close"), CONFIG.replace("TRANSPORT", "unix"))
    checked = shunter("check", "-c", str(config))
    assert checked.returncode == 2
    assert "shop.close (on_worker_stop) is `async def`" in checked.stderr


def test_a_stop_hook_that_never_ends_keeps_nobody(tmp_path: Path) -> None:
    endless = SHOP.replace('raise OSError("the pool is gone")', "time.sleep(600)")
    config = application(tmp_path, endless, CONFIG.replace("TRANSPORT", "tcp_local"))
    one = "runtime.platform.process_groups.cpu.workers=1"
    service = Service(config, tmp_path / "state", "--set", one)
    try:
        pids = [worker["pid"] for worker in service.workers("cpu")]
        assert shunter("restart", "cpu", *service.state).returncode == 0
        assert {event["hook"] for event in logged(service, "stop_hooks_unfinished")} == {"shop.fails"}
        assert [notes(tmp_path, pid) for pid in pids] == [["load main"]]
        assert [worker["reason"] for worker in service.workers("cpu")] == ["replaced"]
    finally:
        service.end()


def asks(http: httpx.Client) -> httpx.Response:
    return http.get("/ask")


def test_recycling_under_load_loses_no_request_also_with_one_worker(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    groups = "runtime.platform.process_groups"
    bounds = [f"{groups}.cpu.workers=1", f"{groups}.cpu.max_requests=100", f"{groups}.web.max_requests=100"]
    service = Service(config, tmp_path / "state", *(word for bound in bounds for word in ("--set", bound)))
    try:
        with under_load(service, 4, asks):
            until(lambda: all(service.workers(name)[0]["incarnation"] >= 3 for name in ("cpu", "web")))
        for name in ("cpu", "web"):
            worker = service.workers(name)[0]
            assert worker["reason"].startswith("recycled: ")
            assert worker["reason"].endswith(" requests, max_requests is 100")
    finally:
        service.end()


@pytest.mark.parametrize("how", ["restart", "max_requests"])
def test_who_is_replaced_finishes_calls_that_take_longer_than_its_time_to_drain(tmp_path: Path, how: str) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    group = "runtime.platform.process_groups.cpu"
    bounds = [f"{group}.workers=1", *([f"{group}.max_requests=1"] if how == "max_requests" else [])]
    service = Service(config, tmp_path / "state", *(word for bound in bounds for word in ("--set", bound)))
    try:
        with ThreadPoolExecutor() as threads:
            first = service.workers("cpu")[0]["pid"]
            if how == "max_requests":
                assert service.http.get("/ask").json() == first
            call = threads.submit(service.http.get, "/nap", params={"seconds": 5})
            until(lambda: "nap" in (tmp_path / "notes").read_text())
            if how == "restart":
                assert shunter("restart", "cpu", *service.state).returncode == 0
            assert call.result().json() == first
            until(lambda: len(service.workers("cpu")) == 1)
            assert "close main" in notes(tmp_path, first), "its hooks had their time, too"
    finally:
        service.end()


def test_a_stop_does_not_wait_for_calls_of_who_is_being_replaced(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    bounds = ["runtime.platform.process_groups.cpu.workers=1", "runtime.web.drain_timeout_seconds=1"]
    service = Service(config, tmp_path / "state", *(word for bound in bounds for word in ("--set", bound)))
    try:
        with ThreadPoolExecutor() as threads:
            call = threads.submit(service.http.get, "/nap", params={"seconds": 28})
            until(lambda: "nap" in (tmp_path / "notes").read_text())
            began = time.monotonic()
            restart = threads.submit(shunter, "restart", "cpu", *service.state)
            until(lambda: len(service.workers("cpu")) == 2 and "draining" in str(service.workers("cpu")))
            assert shunter("stop", *service.state).returncode == 0
            assert time.monotonic() - began < 25
            restart.result()
            assert call.exception() is not None or call.result().status_code >= 500
    finally:
        service.end()


def test_a_worker_that_takes_far_too_much_memory_is_killed_and_another_serves(tmp_path: Path) -> None:
    config = application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", "tcp_local"))
    groups = "runtime.platform.process_groups"
    service = Service(
        config, tmp_path / "state", "--set", f"{groups}.cpu.workers=1", "--set", f"{groups}.cpu.max_memory=100MiB"
    )
    try:
        assert service.http.get("/leak", params={"mebibytes": 200}).status_code in {200, 502}
        until(lambda: service.workers("cpu")[0]["incarnation"] == 2 and service.workers("cpu")[0]["state"] == "up")
        assert service.workers("cpu")[0]["reason"].endswith("MiB of memory, max_memory_kill is 125.0 MiB")
        assert service.http.get("/ask").json() == service.workers("cpu")[0]["pid"]
    finally:
        service.end()
