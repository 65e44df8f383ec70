"""A whole service whose exec worker's port the attacker knows, and honest clients who notice if it suffers."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "strangers.py"
CONFIG = ROOT / "benchmarks" / "service" / "shunter.yaml"
ASK = {"n": 1, "text": "honest"}


def shunter(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, as a person would give it."""
    command = [sys.executable, str(ROOT / "shunter.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=90)


def free_port() -> int:
    """Below those that the kernel gives to whoever connects: nobody else takes it by chance."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Besieged:
    """The service: one web worker, one exec worker, real processes all."""

    def __init__(self, state_dir: Path, *settings: str) -> None:
        self.port = free_port()
        self._state = ["--state-dir", str(state_dir)]
        given = ("runtime.web.port=0", f"runtime.platform.execution_ipc.bind_port={self.port}", *settings)
        sets = [word for setting in given for word in ("--set", setting)]
        started = shunter("start", "--detach", "-c", str(CONFIG), *self._state, *sets).stdout
        self.url = re.search(r"http://[\d.]+:\d+", started)[0] + "/declared"

    def end(self) -> None:
        shunter("stop", "--force", *self._state)

    def worker(self, group: str = "cpu_sync") -> dict[str, Any]:
        """What `status` says of the one worker of a group."""
        groups = json.loads(shunter("status", "--json", *self._state).stdout)["groups"]
        (worker,) = next(group_["workers"] for group_ in groups if group_["name"] == group)
        return worker

    def attack(self, way: str, count: int, more: float) -> subprocess.Popen[str]:
        """Strangers in a process of their own."""
        argv = [sys.executable, str(PROGRAM), "127.0.0.1", str(self.port), way, str(count), str(more)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]})


class Honest:
    """A client that asks and asks until it is told to stop, and keeps how long each answer took."""

    def __init__(self, url: str, pause: float = 0.002) -> None:
        self._url, self._pause = url, pause
        self._enough = threading.Event()
        self.times: list[float] = []
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._enough.is_set():
                self.ask(client)
                time.sleep(self._pause)

    def ask(self, client: httpx.Client) -> None:
        """Once."""
        began = time.perf_counter()
        try:
            answer = client.post(self._url, json=ASK)
            if answer.status_code != 200 or answer.json() != {**ASK, "n": 2}:
                self.failed.append(answer.text)
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
        self.times.append(time.perf_counter() - began)

    def warm(self, times: int) -> None:
        """Ask so often before anything happens."""
        with httpx.Client(timeout=30) as client:
            for _ in range(times):
                self.ask(client)

    def until_served(self, patience: float = 30.0) -> None:
        """Ask until there is one answer as it should be."""
        deadline = time.monotonic() + patience
        with httpx.Client(timeout=30) as client:
            while True:
                self.failed.clear()
                self.ask(client)
                if not self.failed:
                    return
                assert time.monotonic() < deadline, self.failed
                time.sleep(0.05)

    def __enter__(self) -> Honest:  # noqa: PYI034 - nobody inherits from it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(60)
