"""What the smallest command says, and how little it needs for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli import main
from shunter import VERSION


def test_it_says_its_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shunter", "version"])
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
