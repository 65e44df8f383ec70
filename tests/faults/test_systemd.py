"""What systemd would hear: a datagram socket stands for it, and a whole service speaks to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import stage as staged
from detached import ROOT, application
from stage import Stage
from watched import Watched, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fault

PROGRAM = Path(staged.__file__).with_name("supervised.py")
USEC = 400_000
STUCK = """
runtime:
  platform: {process_groups: [{name: cpu, workers: 1, stages: [core]}]}
  web: {port: 0}
discovery: {packages: [shop]}
"""


class Manager:
    """What stands for systemd."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[list[str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address.replace("@", "\0", 1))

    def has_heard(self, *lines: str) -> bool:
        """Whether one message had all these lines."""
        while True:
            try:
                self.said.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return any(set(lines) <= set(message) for message in self.said)

    def is_flooded(self) -> None:
        """Nothing more fits, so that whoever insists would wait for ever."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood, suppress(BlockingIOError):
            flood.setblocking(False)
            while True:
                flood.sendto(b"x", self.address)

    def count(self, line: str) -> int:
        self.has_heard(line)
        return sum(line in message for message in self.said)


@pytest.fixture
def start(stage: Stage) -> Iterator[Callable[[str], Watched]]:
    started: list[Watched] = []

    def one(address: str) -> Watched:
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(USEC)}
        argv = (str(PROGRAM), str(stage.path), json.dumps({"cpu": 2, "web": 1}))
        started.append(Watched(stage.path, stage.state_dir, *argv, environ=environ))
        return started[-1]

    yield one
    for watched in started:
        watched.end()


def test_systemd_hears_how_it_stands_from_the_start_to_the_end(start: Callable[..., Watched], stage: Stage) -> None:
    manager = Manager(f"@shunter-test-{os.getpid()}-{time.monotonic_ns()}")
    with manager.socket:
        service = start(manager.address)
        service.until(lambda: manager.has_heard("READY=1", "STATUS=cpu 2/2, web 1/1"))
        until_ready = manager.said[: manager.said.index(["READY=1", "STATUS=cpu 2/2, web 1/1"])]
        assert ["EXTEND_TIMEOUT_USEC=30000000"] in until_ready
        assert ["STATUS=starting: cpu 2/2, web 0/1"] in until_ready
        assert "READY=1" not in {line for message in until_ready for line in message}
        beats = manager.count("WATCHDOG=1")
        service.until(lambda: manager.count("WATCHDOG=1") >= beats + 3)

        manager.said.clear()
        os.kill(service.events("WorkerSpawned", worker="cpu-1#1")[0]["pid"], signal.SIGKILL)
        service.until(lambda: manager.has_heard("STATUS=cpu 1/2, web 1/1"))
        service.until(lambda: manager.has_heard("STATUS=cpu 2/2, web 1/1"))
        assert not manager.has_heard("READY=1")

        manager.said.clear()
        asked = time.monotonic_ns() // 1000
        service.process.send_signal(signal.SIGHUP)
        service.until(lambda: manager.has_heard("READY=1"))
        (began,) = [message for message in manager.said if "RELOADING=1" in message]
        assert began[2] == "STATUS=reloading: cpu 2/2, web 1/1"
        assert asked <= int(began[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000

        service.process.send_signal(signal.SIGTERM)
        assert service.ends() == 0
        assert manager.has_heard("STOPPING=1")
        assert manager.has_heard("STATUS=draining: cpu 0/2, web 0/1")
    environments = [note["environment"] for note in stage.notes(said="bootstrap")]
    assert environments
    assert not any({"NOTIFY_SOCKET", "WATCHDOG_USEC"} & environment.keys() for environment in environments)


def test_what_systemd_ends_for_its_silence_says_where_it_was_and_takes_everything_along(tmp_path: Path) -> None:
    config = application(tmp_path, f"open({str(tmp_path / 'imported')!r}, 'w')\nimport time\ntime.sleep(600)", STUCK)
    service = Watched(tmp_path, tmp_path / "state", str(ROOT / "shunter.py"), "start", "-c", str(config))
    try:
        service.until((tmp_path / "imported").exists)
        (child,) = psutil.Process(service.pid).children()
        service.process.send_signal(signal.SIGABRT)
        assert service.ends() == -signal.SIGABRT
        service.until(lambda: not runs(child.pid))
    finally:
        service.end()
    said = service.errors.read_text()
    assert "Fatal Python error: Aborted" in said
    assert "in load_plan" in said


@pytest.mark.parametrize("becomes", ["gone", "deaf"])
def test_a_service_goes_on_whatever_becomes_of_systemd(
    start: Callable[..., Watched], stage: Stage, tmp_path: Path, becomes: str
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        service = start(manager.address)
        service.sees("Serving")
        if becomes == "gone":
            manager.socket.close()
            (tmp_path / "notify").unlink()
        else:
            manager.is_flooded()
        os.kill(service.events("WorkerSpawned", worker="cpu-1#1")[0]["pid"], signal.SIGKILL)
        service.sees("WorkerReady", worker="cpu-1#2")
        assert [group.state for group in service.status().groups] == ["up", "up"]
        service.process.send_signal(signal.SIGTERM)
        assert service.ends() == 0
    assert service.errors.read_text() == ""
