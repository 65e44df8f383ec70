"""`shunter dev` at a terminal: what is edited serves, what is broken is told, and the terminal is left as it was."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2 as httpx
import pytest
from rich.console import Console

from cli.dev import Edits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
pytestmark = pytest.mark.e2e

SHOP = """
from exec_worker import node

@node
def ask() -> str:
    return "VERSION"
"""
CONFIG = """
runtime:
  platform: {process_groups: [{name: cpu, workers: 1, stages: [core]}]}
  web: {port: 0, interfaces: [{kind: http, endpoints: [{path: /ask, node: shop.ask}]}]}
"""


class Desk:
    """Somebody at a terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ours, theirs = pty.openpty()
        self._shown = bytearray()
        self.before = termios.tcgetattr(self._ours)
        command = "import fcntl, termios, os, sys; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
        command += "; os.execv(sys.argv[1], sys.argv[1:])"
        dev = [sys.executable, str(ROOT / "shunter.py"), "dev"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, *dev],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=directory,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
        )
        os.close(theirs)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._ours, 65_536):
                self._shown += data

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self._shown.decode(errors="replace"))

    @property
    def raw(self) -> str:
        return self._shown.decode(errors="replace")

    def edit(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(self.shown)
            time.sleep(0.05)

    def ask(self) -> str:
        url = re.findall(r"http://[\d.]+:\d+", self.shown)[-1]
        answer = httpx.get(f"{url}/ask", timeout=PATIENCE)
        assert answer.status_code == 200
        return answer.json()

    def interrupt(self) -> int:
        os.write(self._ours, b"\x03")
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[[str], Desk]]:
    desks: list[Desk] = []

    def sit_down(shop: str) -> Desk:
        (tmp_path / "shop.py").write_text(shop)
        (tmp_path / "shunter.yaml").write_text(CONFIG)
        desks.append(Desk(tmp_path))
        return desks[0]

    yield sit_down
    for made in desks:
        made.end()


def test_what_is_edited_serves_and_what_is_broken_is_told_while_the_last_version_serves_on(
    desk: Callable[[str], Desk],
) -> None:
    me = desk(SHOP.replace("VERSION", "one"))
    me.until(lambda: "Serving on" in me.shown)
    assert me.ask() == "one"
    me.edit("shop.py", SHOP.replace("VERSION", "two"))
    me.until(lambda: me.ask() == "two")
    me.edit("shop.py", SHOP.replace("def ask", "def ask_"))
    me.until(lambda: "has no 'ask'" in me.shown)
    me.edit("shop.py", SHOP.replace('"VERSION"', "undefined") + "undefined_too\n")
    me.until(lambda: "NameError: name 'undefined_too' is not defined" in me.shown)
    assert 'shop.py", line 7' in me.shown
    assert me.ask() == "two"
    me.edit("shop.py", SHOP.replace("VERSION", "six"))  # as long as it was, perhaps within the same second
    me.until(lambda: me.ask() == "six")
    assert me.interrupt() == 0
    assert termios.tcgetattr(me._ours) == me.before
    assert me.raw.rfind("\x1b[?25h") > me.raw.rfind("\x1b[?25l")


def test_what_is_broken_from_the_start_waits_for_an_edit(desk: Callable[[str], Desk]) -> None:
    me = desk("import nowhere\n")
    me.until(lambda: "waiting for an edit" in me.shown)
    assert "No module named 'nowhere'" in me.shown
    assert me.shown.startswith(
        f"watching shunter.yaml and the .py files in and below {me.directory}: an edit is a reload"
    )
    me.edit("shop.py", SHOP.replace("VERSION", "one"))
    me.until(lambda: "Serving on" in me.shown)
    assert me.ask() == "one"
    assert me.interrupt() == 0


BACKGROUND = """
import fcntl, os, signal, sys, termios
from cli.dev import _terminal_kept
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if (job := os.fork()) == 0:
    os.setpgid(0, 0)
    with _terminal_kept():
        pass
    os._exit(0)
_, status = os.waitpid(job, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(job, signal.SIGKILL)
    os.waitpid(job, 0)
sys.exit(status != 0)
"""


def test_in_the_background_it_leaves_the_terminal_alone_and_ends() -> None:
    master, slave = pty.openpty()
    try:
        argv = [sys.executable, "-c", BACKGROUND]
        job = subprocess.run(argv, check=False, stdin=slave, start_new_session=True, timeout=60)
    finally:
        os.close(master)
        os.close(slave)
    assert job.returncode == 0, "it was stopped"


def test_who_does_not_want_to_wait_for_an_edit_leaves(desk: Callable[[str], Desk]) -> None:
    me = desk("import nowhere\n")
    me.until(lambda: "waiting for an edit" in me.shown)
    assert me.interrupt() == 0
    assert termios.tcgetattr(me._ours) == me.before


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the kernel's bound on watches is reached."""

    def refuse(*_: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr("watchfiles.main.RustNotify", refuse)


@pytest.mark.usefixtures("blind")
def test_where_nothing_can_be_watched_it_is_said_and_the_service_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.dev.err", Console(stderr=True, width=200))
    anyio.run(Edits(tmp_path / "shunter.yaml").watch, lambda: None)
    assert "edits are not seen: [Errno 28] OS file watch limit reached; `shunter reload`" in capsys.readouterr().err


@pytest.mark.usefixtures("blind")
def test_where_nothing_can_be_watched_an_edit_is_waited_for_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    edit = threading.Timer(0.2, (tmp_path / "shop.py").write_text, [SHOP])
    edit.start()
    Edits(tmp_path / "shunter.yaml").wait()
    edit.join()
    assert (tmp_path / "shop.py").exists()
