"""A whole service as its users start it, for every test that asks one over HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import psutil

from cli.status import as_data
from ipc.control import ask
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]


def shunter(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """One command, as a person would give it."""
    command = [sys.executable, str(ROOT / "shunter.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=90)


class Service:
    """A service that was started with `--detach`, and how to ask it."""

    def __init__(self, config: Path, state_dir: Path, *more: str) -> None:
        self.state = ["--state-dir", str(state_dir)]
        self.state_dir = state_dir
        self.config = ["-c", str(config)]
        self.started = shunter("start", "--detach", *self.config, *self.state, "--set", "runtime.web.port=0", *more)
        assert self.started.returncode == 0, self.started
        self.url = re.search(r"http://[\d.]+:\d+", self.started.stdout)[0]
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def status(self) -> dict[str, Any]:
        """What `status --json` prints, without a process of its own for each question."""
        answer = ask(self.state_dir, AskStatus())
        assert isinstance(answer, Status), answer
        return as_data(answer)

    @property
    def pid(self) -> int:
        return self.status()["supervisor"]["pid"]

    def workers(self, group: str) -> list[dict[str, Any]]:
        return self.group(group)["workers"]

    def group(self, name: str) -> dict[str, Any]:
        return next(found for found in self.status()["groups"] if found["name"] == name)

    def processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def end(self) -> None:
        self.http.close()
        shunter("stop", "--force", *self.state)


PATIENCE = 60.0
"""Far more than anything takes; a test that waits so long has failed."""


def until(true: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until it is; the assertion that fails otherwise is the caller's own condition."""
    deadline = time.monotonic() + patience
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; what is left of one until somebody asks for its exit code does not."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def under_load(service: Service, clients: int, ask: Callable[[httpx.Client], httpx.Response]) -> Iterator[None]:
    """Requests without a pause meanwhile, each of which must have been answered with 200."""
    ended = False
    statuses: list[int] = []

    def load() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as http:
            while not ended:
                statuses.append(ask(http).status_code)

    with ThreadPoolExecutor(clients) as threads:
        loads = [threads.submit(load) for _ in range(clients)]
        try:
            yield
        finally:
            ended = True
    for done in loads:
        done.result()
    assert set(statuses) == {200}


def application(directory: Path, source: str, config: str) -> Path:
    """A service with one module, `shop`; returns its configuration file. Groups are indented below the key."""
    (directory / "shop.py").write_text(source)
    file = directory / "shunter.yaml"
    file.write_text(config)
    return file
