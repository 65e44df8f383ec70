"""What the smallest command says, and how little it needs for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli import main
from shunter import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_it_says_its_version(asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shunter", asked])
    assert main.run() == 0
    assert capsys.readouterr().out == f"shunter {VERSION}\n"


@pytest.mark.parametrize("command", ["version", "status", "stop", "restart", "scale", "logs"])
def test_what_asks_imports_nothing_that_serves(command: str) -> None:
    look = f"""
import sys
sys.argv = ["shunter", "{command}", "--help"]
import cli.main, cli.{command}
cli.main.run()
print([name for name in sys.modules if name in ("supervisor", "fastapi", "uvicorn", "anyio")])
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize("wrong", [["nonsense"], ["status", "--nonsense"], ["logs", "-n", "-1"]])
def test_wrong_usage_is_two(wrong: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shunter", *wrong])
    assert main.run() == 2


@pytest.mark.parametrize("buffered", [True, False])
def test_an_output_that_is_full_is_told_in_one_line(buffered: bool) -> None:
    command = [sys.executable, *(() if buffered else ("-u",)), "-m", "shunter", "version"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=30, env=environ
        )
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("command", [["version"], ["check"], ["routes", "--json"]], ids=" ".join)
def test_a_reader_who_leaves_makes_no_failure(command: list[str], tmp_path: Path, unread: int) -> None:
    (tmp_path / "shunter.yaml").write_text("runtime: {web: {app: site_app:app}}")
    (tmp_path / "site_app.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    done = subprocess.run(
        [sys.executable, "-c", "import sys, shunter; sys.exit(shunter.main())", *command],
        cwd=tmp_path,
        stdout=unread,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "silent"), [(["check"], "2"), (["check", "--json"], "12"), (["start"], "2")])
def test_nor_does_one_make_a_success_who_reads_no_complaints(
    command: list[str], silent: str, tmp_path: Path, unread: int
) -> None:
    (tmp_path / "shunter.yaml").write_text("runtime: nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "shunter", *command],
        cwd=tmp_path,
        stdout=unread if "1" in silent else subprocess.DEVNULL,
        stderr=unread,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("command", "closed", "code"),
    [("version", ">&-", 0), ("check", "<&- >&- 2>&-", 0), ("status", "2>&-", 3), ("call one.node -", "<&-", 2)],
)
def test_a_command_does_without_streams_that_are_closed(command: str, closed: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "shunter.yaml").write_text("runtime: {web: {app: site_app:app}}")
    (tmp_path / "site_app.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    shell = ["sh", "-c", f'exec "$0" -m shunter {command} {closed}', sys.executable]
    done = subprocess.run(
        shell, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
