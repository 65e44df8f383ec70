"""Supervision under fire: a supervisor that is a process of its own, its stand-ins, and signals to all of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import stage as staged
from stage import Stage
from watched import Watched, environment_of, free, runs

from ipc.control import ask
from ipc.messages.control import Done, Restart, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fault

SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
"""How many times longer than in `make test`."""
PROGRAM = Path(staged.__file__).with_name("supervised.py")


class Supervised(Watched):
    """A supervisor of stand-ins."""

    def __init__(self, stage: Stage, **options: float) -> None:
        super().__init__(stage.path, stage.state_dir, str(PROGRAM), str(stage.path), json.dumps(options))
        self.stage = stage

    def pids(self) -> list[int]:
        """Those of what its workers started too, as far as they said so."""
        return super().pids() + [pid for note in self.stage.notes(said="grandchildren") for pid in note["pids"]]


@pytest.fixture
def start(stage: Stage) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def one(**options: float) -> Supervised:
        started.append(Supervised(stage, **options))
        return started[-1]

    yield one
    for supervised in started:
        supervised.end()


def zombies(parent: int) -> list[int]:
    return [child.pid for child in psutil.Process(parent).children() if child.status() == psutil.STATUS_ZOMBIE]


Starter = "Callable[..., Supervised]"


@pytest.mark.parametrize("seat", ["cpu-1", "web-0"])
def test_a_killed_worker_comes_back_and_costs_nobody_else(start: Starter, seat: str) -> None:
    service = start(cpu=2, web=2)
    service.sees("Serving")
    victim = next(event["pid"] for event in service.events("WorkerSpawned") if event["worker"] == f"{seat}#1")
    os.kill(victim, signal.SIGKILL)
    service.sees("WorkerReady", worker=f"{seat}#2")
    (end,) = service.events("WorkerExited")
    assert end["worker"] == f"{seat}#1"
    assert end["reason"].startswith("killed by SIGKILL (")
    service.until(lambda: all(group.state == "up" for group in service.status().groups))
    assert zombies(service.pid) == []


def test_a_killed_supervisor_takes_everything_with_it(start: Starter) -> None:
    """F4, and F22: the next one starts over what this one left."""
    service = start(cpu=2, web=2)
    port = service.sees("Serving")["port"]
    stopped = service.pids()[0]
    os.kill(stopped, signal.SIGSTOP)  # one that can do nothing about it itself
    began = time.monotonic()
    service.process.kill()
    service.until(lambda: not any(runs(pid) for pid in service.pids()) and free(port))
    assert time.monotonic() - began < 30.0
    again = start(cpu=1, web=1, port=port)  # over a stale socket and a stale lock
    assert again.sees("Serving")["port"] == port


@pytest.mark.timeout(1800 if SOAK > 1 else 300)
def test_a_supervisor_killed_at_any_moment_leaves_nothing(start: Starter, stage: Stage) -> None:
    """P6; with what workers had started, in their process group and out of it."""
    stage.behave("cpu", "grandchildren")
    dice = random.Random()
    took = 0.0
    for moment in range(20 * SOAK):
        began = time.monotonic()
        service = start(cpu=2, web=1)
        if moment == 0:
            service.sees("Serving")
            took = time.monotonic() - began
        else:
            time.sleep(dice.uniform(0.1, 1.2) * took)
        service.process.kill()
        service.ends()
        service.until(lambda: not any(str(stage.path) in environment_of(pid) and runs(pid) for pid in psutil.pids()))


def test_a_stop_leaves_nothing_behind_not_even_what_workers_started(start: Starter, stage: Stage) -> None:
    stage.behave("cpu", "grandchildren")
    service = start(cpu=2, web=1)
    port = service.sees("Serving")["port"]
    assert len(service.pids()) == 7
    assert all(map(runs, service.pids()))
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0
    assert not any(map(runs, service.pids()))
    service.until(lambda: free(port))  # somebody who connects elsewhere may have it for a moment
    assert not (stage.state_dir / "control.sock").exists()
    assert service.errors.read_text() == ""


def test_what_a_killed_worker_started_goes_with_it(start: Starter, stage: Stage) -> None:
    stage.behave("cpu", "grandchildren")
    service = start(cpu=1, web=0)
    service.sees("Serving")
    tame, wild = stage.notes(said="grandchildren")[0]["pids"]
    os.kill(service.pids()[0], signal.SIGKILL)
    service.until(lambda: not runs(tame))
    assert psutil.Process(wild).ppid() == service.pid  # it fled, was adopted, and goes at the end
    os.kill(wild, signal.SIGKILL)
    service.until(lambda: not psutil.pid_exists(wild))
    service.sees("WorkerReady", worker="cpu-0#2")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait_for_calls_under_way(start: Starter, stage: Stage, second: int) -> None:
    stage.behave("cpu", "deaf")
    service = start(cpu=2, web=1)
    service.sees("Serving")
    service.process.send_signal(signal.SIGTERM)
    service.sees("WorkerDraining", worker="cpu-0#1")
    time.sleep(0.2)
    began = time.monotonic()
    service.process.send_signal(second)
    assert service.ends() == 0
    assert time.monotonic() - began < 25.0  # and not the 30 s of the drain
    assert not any(map(runs, service.pids()))


def test_a_storm_of_signals_ends_it_once_and_cleanly(start: Starter) -> None:
    service = start(cpu=2, web=2)
    service.sees("Serving")
    while service.process.poll() is None:
        service.process.send_signal(random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD]))
        time.sleep(0.001)
    assert service.process.returncode == 0
    assert service.errors.read_text() == ""
    assert len(service.events("Stopped")) == 1
    assert not any(map(runs, service.pids()))


def test_a_stop_does_not_wait_for_a_slow_import(start: Starter, stage: Stage) -> None:
    stage.behave("all", "hang")
    service = start(cpu=2, web=1)
    service.until(lambda: stage.notes(said="bootstrap"))
    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.ends() == 0
    assert time.monotonic() - began < 60.0  # and not the 120 s of a start
    assert not any(map(runs, service.pids()))


def test_signals_at_any_moment_of_the_start_leave_nothing(start: Starter) -> None:
    dice = random.Random()
    for _ in range(12 * SOAK):
        service = start(cpu=2, web=2)
        service.sees("GroupStarting")
        time.sleep(dice.uniform(0.0, 0.5))
        service.process.send_signal(signal.SIGTERM)
        assert service.ends() == 0
        assert service.errors.read_text() == ""
        assert not any(map(runs, service.pids()))


def test_a_second_supervisor_names_the_first_and_leaves_it_alone(start: Starter) -> None:
    """F23."""
    first = start(cpu=1, web=1)
    first.sees("Serving")
    second = start(cpu=1, web=1)
    assert second.ends() == 1
    assert str(first.pid) in second.errors.read_text()
    assert first.status().supervisor.pid == first.pid


def test_a_taken_port_is_named(start: Starter) -> None:
    """F24."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start(cpu=1, web=1, port=port)
        assert service.ends() == 1
    assert f"127.0.0.1:{port}" in service.errors.read_text()
    assert service.pids() == []


def test_a_stopped_supervisor_is_no_reason_to_stop_working(start: Starter) -> None:
    service = start(cpu=1, web=1)
    port = service.sees("Serving")["port"]
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        assert connection.recv(100) == b"web-0#1"
    service.process.send_signal(signal.SIGCONT)
    assert {worker.incarnation for group in service.status().groups for worker in group.workers} == {1}


def test_a_version_that_does_not_import_replaces_nobody(start: Starter, stage: Stage) -> None:
    service = start(cpu=1, web=1)
    port = service.sees("Serving")["port"]
    stage.behave("all", "broken")
    answer = ask(stage.state_dir, Restart())
    assert "Traceback: no shop" in str(answer)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        assert connection.recv(100) == b"web-0#1"
    stage.behave("all", "good")
    assert isinstance(ask(stage.state_dir, Restart()), Done)


def test_when_stop_is_answered_the_supervisor_is_gone(start: Starter, stage: Stage) -> None:
    service = start(cpu=1, web=1)
    service.sees("Serving")
    told: list[str] = []
    assert ask(stage.state_dir, Stop(), told.append) == Done("stopped")
    assert not runs(service.pid)
    assert any("draining" in line for line in told)
    assert start(cpu=1, web=1).sees("Serving")


def test_a_crash_loop_slows_down_and_the_others_serve(start: Starter, stage: Stage) -> None:
    service = start(cpu=1, web=1)
    port = service.sees("Serving")["port"]
    stage.behave("cpu", "exit 1")
    os.kill(service.events("WorkerSpawned", worker="cpu-0#1")[0]["pid"], signal.SIGKILL)
    service.sees("WorkerRestarting", count=5)
    waits = [event["after"] for event in service.events("WorkerRestarting")]
    assert all(later > earlier * 1.2 for earlier, later in pairwise(waits))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        assert connection.recv(100) == b"web-0#1"
    cpu = service.status().groups[0]
    assert cpu.state == "starting"
    assert cpu.workers[0].reason == "exited with code 1"
    stage.behave("cpu", "good")
    service.until(lambda: service.status().groups[0].state == "up")


def test_secrets_are_in_nobody_s_arguments_and_in_no_environment(start: Starter, stage: Stage) -> None:
    service = start(cpu=2, web=2)
    service.sees("Serving")
    keys = [note["key"] for note in stage.notes(said="bootstrap") if note["key"]]
    keys += [key for note in stage.notes(said="peers") for _, key in note["workers"].values()]
    assert len(keys) > 4
    for pid in (service.pid, *service.pids()):
        seen = Path(f"/proc/{pid}/cmdline").read_bytes() + environment_of(pid).encode()
        assert not any(key.encode() in seen or bytes.fromhex(key) in seen for key in keys)
    written = b"".join(path.read_bytes() for path in stage.state_dir.rglob("*") if path.is_file())
    assert not any(key.encode() in written + service.log.read_bytes() for key in keys)
