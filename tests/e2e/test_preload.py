"""A group that is preloaded, in a whole service."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from detached import Service, application, living, shunter, under_load, until

if TYPE_CHECKING:
    import httpx2 as httpx

pytestmark = pytest.mark.e2e

SHOP = """
import os
from exec_worker import node

born = os.getpid()

@node
def ask() -> list[int]:
    return [born, os.getpid(), os.nice(0)]
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: cpu, workers: 2, stages: [core], preload: true, nice: 3, limits: {open_files: 200}}
  web:
    interfaces: [{kind: http, endpoints: [{path: /ask, node: shop.ask}]}]
"""


def asks(http: httpx.Client) -> httpx.Response:
    return http.get("/ask")


def template(service: Service) -> dict[str, object]:
    return next(group for group in service.status()["groups"] if group["name"] == "cpu")["template"]


def test_forked_workers_serve_are_held_to_their_limits_and_outlive_their_template(tmp_path: Path) -> None:
    service = Service(application(tmp_path, SHOP, CONFIG), tmp_path / "state")
    try:
        first = template(service)
        pids = {worker["pid"] for worker in service.workers("cpu")}
        assert first["pid"] not in pids
        answers = {tuple(service.http.get("/ask").json()) for _ in range(20)}
        assert answers <= {(first["pid"], pid, os.nice(0) + 3) for pid in pids}
        for pid in pids:
            assert re.search(r"Max open files\s+200 ", Path(f"/proc/{pid}/limits").read_text())
        assert re.search(r"cpu-template#1 +up", shunter("status", *service.state).stdout)
        with under_load(service, 2, asks):
            os.kill(first["pid"], signal.SIGKILL)
            until(lambda: template(service)["name"] == "cpu-template#2" and template(service)["state"] == "up")
            assert {worker["pid"] for worker in service.workers("cpu")} == pids
            restarted = shunter("restart", "cpu", *service.state)
            assert restarted.returncode == 0, restarted
        assert service.http.get("/ask").json()[0] == template(service)["pid"]
        assert template(service)["name"] == "cpu-template#3"
        everybody = service.processes()
        assert template(service)["pid"] in {process.pid for process in everybody}
        os.kill(everybody[0].pid, signal.SIGKILL)
        until(lambda: not living(everybody))
        assert not [process for process in psutil.process_iter() if str(tmp_path) in " ".join(told(process))]
    finally:
        service.end()


def told(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
