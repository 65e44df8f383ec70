"""What an operator sees while a service runs: `top` in a real terminal, `events` as they come."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from detached import ROOT, Service, application, shunter, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

SHOP = """
from exec_worker import node

import os, signal, time

@node
def double(number: int) -> int:
    return 2 * number

@node
def blob(seed: bytes, size: int = 1) -> bytes:
    return seed * size

@node
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@node
def sleeps(seconds: float) -> None:
    time.sleep(seconds)
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: cpu, workers: 1, stages: [core]}
  web:
    interfaces: [{kind: http, endpoints: [{path: /double, node: shop.double}]}]
discovery: {packages: [shop]}
"""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("shop")
    made = Service(application(path, SHOP, CONFIG), path / "state")
    try:
        yield made
    finally:
        made.end()


class Terminal:
    """A pseudo terminal with a command in it, and all that the command has written."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process, self._end = process, end
        self.written = b""

    def read(self, seconds: float) -> None:
        while select.select([self._end], [], [], seconds)[0]:
            try:
                data = os.read(self._end, 65_536)
            except OSError:  # nobody has the other end any more
                return
            self.written += data
            seconds = 0.0

    def until(self, text: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.written:
            assert time.monotonic() < deadline, self.written[-4000:].decode(errors="replace")
            self.read(0.1)

    def press(self, keys: bytes) -> None:
        self.written = b""
        os.write(self._end, keys)

    def left(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, self.written[-4000:].decode(errors="replace")
            self.read(0.1)
        self.read(0.1)
        return code


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    end, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "shunter.py"), *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    try:
        yield Terminal(process, end)
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait(30)
        os.close(end)
        os.close(theirs)


def test_top_shows_the_service_restarts_a_group_by_a_key_and_leaves_the_terminal_as_it_was(service: Service) -> None:
    before = service.workers("cpu")[0]["incarnation"]
    with terminal("top", *service.state) as top:
        top.until(b"cpu-0#%d" % before)
        top.until(b"quit")
        assert b"\x1b[?1049h" in top.written
        top.press(b"r")
        top.until(b"[y/n] replace the workers of cpu")
        top.press(b"y")
        top.until(b"restarted cpu")
        top.press(b"q")
        assert top.left() == 0
        assert b"\x1b[?1049l" in top.written
        assert b"\x1b[?25h" in top.written
    assert service.workers("cpu")[0]["incarnation"] == before + 1
    with terminal("top", *service.state) as top:
        top.until(b"cpu-0#%d" % (before + 1))
        top.process.send_signal(signal.SIGTERM)
        top.left()
        assert b"\x1b[?1049l" in top.written


def test_events_are_told_as_they_come(service: Service) -> None:
    before = service.workers("web")[0]["incarnation"]
    follow = [sys.executable, str(ROOT / "shunter.py"), "events", "-f", "-n", "3", *service.state]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as events:
        try:
            lines = [events.stdout.readline() for _ in range(3)]
            os.kill(service.workers("web")[0]["pid"], signal.SIGKILL)
            while f"web-0#{before + 1}: ready after" not in lines[-1]:
                lines.append(events.stdout.readline())
                assert lines[-1], lines
        finally:
            events.kill()
    told = "".join(lines[3:])
    assert f"error   web-0#{before}: killed by SIGKILL" in told
    assert "\x1b" not in told
    last = shunter("events", "-n", "1", "--json", *service.state).stdout
    until(lambda: service.workers("web")[0]["state"] == "up")
    assert last.count("\n") == 1


def test_top_without_a_terminal_or_a_service_says_so(service: Service, tmp_path: Path) -> None:
    refused = shunter("top", *service.state)
    assert refused.returncode == 2
    assert "status --json" in refused.stderr
    with terminal("top", "--state-dir", str(tmp_path)) as top:
        assert top.left() == 3
        assert b"nothing runs for" in top.written
        assert b"\x1b[?1049" not in top.written  # the screen was never taken


def test_a_node_is_called_through_the_links_and_told_apart_from_one_that_cannot_be(
    service: Service, tmp_path: Path
) -> None:
    """Also one that no endpoint leads to, with bytes both ways, many parts of them."""
    called = shunter("call", "shop.double", '{"number": 21}', *service.state)
    assert (called.returncode, called.stdout) == (0, "42\n"), called
    (tmp_path / "seed").write_bytes(b"\x00\xff" * 1000)
    size = '{"size": 400}'
    asked = ("call", "shop.blob", size, "--body", str(tmp_path / "seed"), "-o", str(tmp_path / "out"), *service.state)
    assert shunter(*asked).returncode == 0
    assert (tmp_path / "out").read_bytes() == b"\x00\xff" * 400_000
    before = service.workers("cpu")[0]["incarnation"]
    for arguments, code, said in (
        (("shop.double", '{"number": "x"}'), 1, "invalid_request: Expected `int`"),
        (("shop.duoble",), 2, "did you mean 'shop.double'?"),
        (("shop.sleeps", '{"seconds": 60}', "--timeout", "0.2"), 1, "timeout: "),
        (("shop.dies",), 1, "worker_died: "),
    ):
        refused = shunter("call", *arguments, *service.state)
        assert refused.returncode == code, refused
        assert said in refused.stderr
        assert not refused.stdout
    until(lambda: service.workers("cpu")[0]["incarnation"] > before and service.workers("cpu")[0]["state"] == "up")
