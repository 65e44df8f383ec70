"""A program that tells its events on standard output, and what becomes of the processes it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ipc.control import ask
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATIENCE = 60.0
"""Far more than anything takes; a test that waits so long has failed."""


class Watched:
    """A running supervisor and all it says."""

    def __init__(self, path: Path, state_dir: Path, *argv: str, environ: Mapping[str, str] | None = None) -> None:
        self.path, self.state_dir = path, state_dir
        self.log = path / f"events.{time.monotonic_ns()}"
        self.errors = self.log.with_suffix(".errors")
        environment = {**os.environ, **(environ or {})}
        with self.log.open("wb") as out, self.errors.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *argv], stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def events(self, kind: str, **like: object) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [event for event in lines if {"kind": kind, **like}.items() <= event.items()]

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.log.read_text() + self.errors.read_text()
            time.sleep(0.005)

    def sees(self, kind: str, count: int = 1, **like: object) -> dict[str, Any]:
        self.until(lambda: len(self.events(kind, **like)) >= count)
        return self.events(kind, **like)[-1]

    def pids(self) -> list[int]:
        """Every process it ever started, as far as it said so."""
        return [event["pid"] for event in self.events("WorkerSpawned")]

    def status(self) -> Status:
        answer = ask(self.state_dir, AskStatus())
        assert isinstance(answer, Status)
        return answer

    def ends(self, *, within: float = PATIENCE) -> int:
        return self.process.wait(within)

    def end(self) -> None:
        """By force, and everything that was its."""
        self.process.kill()
        self.process.wait()
        for pid in self.pids():
            if runs(pid) and str(self.path) in environment_of(pid):
                os.kill(pid, signal.SIGKILL)


def environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether there is such a process; what waits to be reaped counts as gone."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
