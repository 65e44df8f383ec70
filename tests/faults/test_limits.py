"""Nodes that take all there is: memory, descriptors, processes. The kernel stops them, and the worker goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2 as httpx
import psutil
import pytest
from detached import Service, application, living, until
from victim import ordinary, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fault

STRANGER = 54_323
"""A user that no other process here is: the kernel counts all processes of one together."""
USER = STRANGER if os.geteuid() == 0 else os.geteuid()
BOMB = 40
"""How many more processes and threads than there are the user of a bomb may have."""

SHOP = """
import os, threading, time
from exec_worker import node

kept = []

@node
def pid() -> int:
    return os.getpid()

@node
def fill(slowly: bool = False) -> int:
    mine = []
    while True:
        mine.append([object() for _ in range(1000)] if slowly else bytearray(1 << 20))

@node
def leak() -> int:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))

@node
def give_back() -> int:
    while kept:
        os.close(kept.pop())
    return 0

@node
def write(to: str) -> int:
    with open(to, "wb") as file:
        while True:
            file.write(bytes(1 << 16))

@node
def bomb(escape: bool = False) -> int:
    while True:
        try:
            if os.fork() == 0:
                if escape:
                    os.setsid()
        except OSError:
            time.sleep(0.01)
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: cpu, stages: [core], GROUP}
      - {name: web, workers: 1}
  web:
    default_timeout_seconds: 30
    interfaces:
      - kind: http
        endpoints: [ENDPOINTS]
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """A service whose group of one worker has these keys."""
    started: list[Service] = []

    def one(keys: str) -> Service:
        endpoints = ", ".join(
            f"{{path: /{name}, node: shop.{name}}}" for name in ("pid", "fill", "leak", "give_back", "write", "bomb")
        )
        config = application(tmp_path, SHOP, CONFIG.replace("GROUP", keys).replace("ENDPOINTS", endpoints))
        started.append(Service(config, tmp_path / "state"))
        return started[-1]

    yield one
    for service in started:
        service.end()


def code(service: Service, path: str) -> tuple[int, str]:
    answer = service.http.get(path)
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("how", ["", "?slowly=true"])
def test_a_node_that_wants_more_memory_than_it_may_fails_and_the_worker_lives(
    start: Callable[[str], Service], how: str
) -> None:
    service = start("limits: {address_space: 400MiB}")
    before = service.http.get("/pid").json()
    for _ in range(3):
        assert code(service, f"/fill{how}") == (500, "node_error")
        assert service.http.get("/pid").json() == before
    assert service.workers("cpu")[0]["restarts"] == 0


def test_a_node_that_leaks_descriptors_fails_and_the_worker_still_answers(start: Callable[[str], Service]) -> None:
    service = start("limits: {open_files: 64}")
    before = service.http.get("/pid").json()
    for _ in range(3):
        assert code(service, "/leak") == (500, "node_error")
        assert service.http.get("/healthz").status_code == 200
        assert service.http.get("/pid").json() == before
    process = psutil.Process(before)
    spent = sum(process.cpu_times()[:2])
    time.sleep(1.0)
    assert (
        sum(process.cpu_times()[:2]) - spent < 0.2
    )  # without a descriptor left it waits, and does not turn in circles
    assert service.http.get("/give_back").json() == 0
    assert service.http.get("/pid").json() == before


def test_a_file_ends_where_it_may_not_grow(start: Callable[[str], Service], tmp_path: Path) -> None:
    service = start("limits: {file_size: 1MiB}")
    before = service.http.get("/pid").json()
    assert code(service, f"/write?to={tmp_path / 'endless'}") == (500, "node_error")
    assert (tmp_path / "endless").stat().st_size == 2**20
    assert service.http.get("/pid").json() == before


class Bombed:
    """A service of somebody whose processes are counted: of a user of its own, where that can be, or of this one."""

    def __init__(self, escape: bool) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="shunter-bombed-"))
        limit = BOMB + sum(each.num_threads() for each in psutil.process_iter() if owner(each) == USER)
        keys = f"limits: {{processes: {limit}}}, start_timeout_seconds: 30, drain_timeout_seconds: 2"
        endpoints = "{path: /pid, node: shop.pid}, {path: /bomb, node: shop.bomb, timeout_seconds: 2}"
        config = application(self.path, SHOP, CONFIG.replace("GROUP", keys).replace("ENDPOINTS", endpoints))
        for path in (self.path, *self.path.iterdir()):
            os.chown(path, USER, USER if USER == STRANGER else -1)
        program = python()
        argv = [program.executable, f"{program.root}/shunter.py", "start", "-c", str(config)]
        argv += ["--set", "runtime.web.port=0"]
        self.process = subprocess.Popen(
            argv, cwd=self.path, env=program.environment, stdout=subprocess.PIPE, text=True, **ordinary(STRANGER)
        )
        assert self.process.stdout is not None
        said = {"event": ""}
        while said["event"] != "serving":
            line = self.process.stdout.readline()
            assert line, said
            said = json.loads(line)
        self.reader = threading.Thread(target=self.process.stdout.read)
        self.reader.start()
        self.url = said["url"]
        self.escape = "?escape=true" if escape else ""
        self.usual = len(self.family())

    def family(self) -> list[psutil.Process]:
        """All that came of it and lives, wherever it went."""
        with suppress(psutil.NoSuchProcess):
            return living(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def end(self) -> None:
        for process in [*self.family(), self.process]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)
        self.reader.join()
        self.process.stdout.close()
        shutil.rmtree(self.path)


def session(process: psutil.Process) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return -1


def owner(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return process.uids().real
    return -1


@pytest.mark.parametrize("escape", [False, True])
def test_of_a_fork_bomb_nothing_is_left(escape: bool) -> None:
    """With its worker ends all that it forked; what went off into sessions of its own ends with the service."""
    bombed = Bombed(escape)
    try:
        worker = httpx.get(f"{bombed.url}/pid", timeout=30).json()
        with ThreadPoolExecutor() as threads:
            call = threads.submit(httpx.get, f"{bombed.url}/bomb{bombed.escape}", timeout=30)
            until(lambda: len(bombed.family()) > bombed.usual + BOMB // 2)
            assert httpx.get(f"{bombed.url}/healthz", timeout=30).status_code == 200
            family = bombed.family()
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            assert call.result().status_code >= 500
        if escape:
            bombed.process.terminate()
            assert bombed.process.wait(60) == 0
            assert not living(family)
            assert not living([one for one in psutil.process_iter() if USER == STRANGER == owner(one)])
        else:
            until(lambda: not [one for one in bombed.family() if session(one) == worker])
            until(
                lambda: httpx.get(f"{bombed.url}/pid", timeout=30).status_code == 200
            )  # its successor needs threads, too
    finally:
        bombed.end()
