"""SIGTERM and SIGINT end `shunter start` at any moment, in order and with exit code 0; also where it is PID 1."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from askers import Crowd
from watched import environment_of, runs

import shunter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800 if "SHUNTER_SOAK" in os.environ else 300)]

MOMENTS = 500 if "SHUNTER_SOAK" in os.environ else 3
PATIENCE = 60.0
GENEROUS = 25.0
LIVELY = Path(__file__).parent / "programs" / "lively.yaml"
_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
_ALLOWED = (
    shutil.which("unshare") is not None
    and subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode == 0
)
FIRST = {"first": _UNSHARE} if _ALLOWED else {}
"""How to be PID 1, where that is allowed."""
WAYS = {"plain": [], **FIRST}


class Started:
    """`shunter start`, and what it says."""

    def __init__(self, path: Path, config: Path, way: list[str], *before: str) -> None:
        path.mkdir(exist_ok=True)
        self.path, self._before = path, len(before)
        self.out, self.errors = path / "out", path / "errors"
        command = [sys.executable, shunter.__file__, "start", "-c", str(config), "--state-dir", str(path / "state")]
        command += ["--set", "runtime.web.port=0", "--set", f"runtime.platform.environment.set.HERE={path}"]
        command = [*way, *before, *command]
        with self.out.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env={**os.environ, "HERE": str(path)}
            )
        self.way = way

    @property
    def pid(self) -> int:
        """The supervisor, as it is seen from here."""
        if not self.way:
            return self.process.pid
        self.until(lambda: psutil.Process(self.process.pid).children())
        return psutil.Process(self.process.pid).children()[0].pid

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.out.read_text() + self.errors.read_text()
            time.sleep(0.005)

    def listens(self) -> bool:
        """Whether a signal would be met: before, for as long as Python itself starts, nobody can do anything."""
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            caught = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)
        return False

    def said(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def serving(self) -> int:
        """Wait until it does; its port."""
        self.until(lambda: any(line["event"] == "serving" for line in self.said()))
        return int(next(str(line["url"]) for line in self.said() if line["event"] == "serving").rpartition(":")[2])

    def left(self) -> list[int]:
        """What is there of all it started."""
        return [pid for pid in psutil.pids() if str(self.path) in environment_of(pid) and runs(pid)]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    started: list[Started] = []

    def one(config: Path = LIVELY, way: str = "plain", *before: str) -> Started:
        started.append(Started(tmp_path / str(len(started)), config, WAYS[way], *before))
        return started[-1]

    yield one
    for each in started:
        each.end()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """An application whose import starts a process and then takes for ever."""
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path(os.environ['HERE'], 'pid').write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    config = tmp_path / "shunter.yaml"
    config.write_text("discovery: {packages: [slow]}\n")
    return config


Starter = "Callable[..., Started]"


def ends_well(started: Started) -> None:
    began = time.monotonic()
    assert started.process.wait(PATIENCE) == 0
    assert time.monotonic() - began < GENEROUS
    assert started.errors.read_text() == ""
    started.until(lambda: not started.left())


@pytest.mark.parametrize(("way", "what"), tuple(zip(WAYS, (signal.SIGINT, signal.SIGTERM), strict=False)))
def test_a_signal_while_the_application_is_imported_ends_it_with_what_that_started(
    start: Starter, slow: Path, way: str, what: signal.Signals
) -> None:
    """F42."""
    started = start(slow, way)
    started.until((started.path / "pid").exists)
    os.kill(started.pid, what)
    with suppress(ProcessLookupError):
        os.kill(started.pid, what)  # to insist makes no traceback
    ends_well(started)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_at_any_moment_of_the_start_ends_it(start: Starter, way: str) -> None:
    """F42: imports, the application's import, the first start, and just after."""
    dice = random.Random()
    took = 0.0
    for moment in range(MOMENTS):
        began = time.monotonic()
        started = start(LIVELY, way)
        started.until(started.listens)
        if moment == 0:
            started.serving()
            took = time.monotonic() - began
        else:
            time.sleep(dice.uniform(0.0, 1.1) * took)
        os.kill(started.pid, dice.choice([signal.SIGTERM, signal.SIGINT]))
        ends_well(started)


@pytest.mark.parametrize(("way", "first"), tuple(zip(WAYS, (signal.SIGINT, signal.SIGTERM), strict=False)))
def test_two_of_them_force_and_the_exit_code_stays(start: Starter, way: str, first: signal.Signals) -> None:
    """F41: an INT that is repeated, or follows a TERM, does not wait for what is under way."""
    started = start(LIVELY, way)
    crowd = Crowd(started.serving(), {})

    async def story() -> None:
        asked = asyncio.create_task(crowd.get("/nap?ticket=one&seconds=28"))
        await asyncio.sleep(0.5)
        os.kill(started.pid, first)
        await asyncio.sleep(0.5)  # more than an echo takes
        os.kill(started.pid, signal.SIGINT)
        await asyncio.to_thread(ends_well, started)
        with suppress(OSError, EOFError):
            await asked

    asyncio.run(story())


@pytest.mark.parametrize("way", FIRST)
def test_the_first_process_of_a_container_reaps_everybody_and_leaves_nobody(start: Starter, way: str) -> None:
    """F43, F45; also what ran before it took the place of a shell."""
    started = start(LIVELY, way, "sh", "-c", 'sleep 0.1 & exec "$@"', "sh")
    crowd = Crowd(started.serving(), {})

    async def ask(path: str) -> list[int]:
        answer = await crowd.get(f"{path}?ticket=one")
        assert answer.status == 200
        return [int(pid) for pid in answer.body.strip(b"[]").split(b",") if pid]

    def children() -> list[int]:
        return [child.pid for child in psutil.Process(started.pid).children()]

    asyncio.run(ask("/zombies"))
    started.until(lambda: len(children()) == 3 and all(map(runs, children())))
    asyncio.run(ask("/family"))
    assert len(started.left()) > 6
    os.kill(started.pid, signal.SIGTERM)
    ends_well(started)


@pytest.mark.parametrize("way", FIRST)
def test_where_the_first_process_of_a_container_is_killed_nothing_is_left(start: Starter, way: str) -> None:
    """P6."""
    started = start(LIVELY, way)
    started.serving()
    assert len(started.left()) > 3
    os.kill(started.pid, signal.SIGKILL)
    started.until(lambda: not started.left())
