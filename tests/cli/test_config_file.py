"""Which service a command speaks to that names a file, and what it says if that is another one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import cli.config_file
import cli.main
from ipc.control import NotRunning
from ipc.messages.control import Status, SupervisorStatus

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    ["stop"],
    ["reload"],
    ["status"],
    ["restart"],
    ["logs"],
    ["events"],
    ["top"],
    ["keys", "rotate"],
    ["scale", "cpu", "2"],
    ["call", "shop.sell"],
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file of the one service that runs here; none does if there is none."""
    files: list[str] = []

    def ask(state_dir: Path, _order: object) -> Status:
        if not files:
            raise NotRunning(f"nothing runs for {state_dir}")
        return Status(SupervisorStatus(1, "0", 0.0, files[0]), ())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.config_file, "ask", ask)
    return files


def said(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shunter", *arguments])
    return cli.main.run()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_is_not_there_is_nobody_s(
    command: list[str], runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.append("shunter.yaml")
    assert said(monkeypatch, *command, "-c", "typo.yaml") == 2
    assert capsys.readouterr().err == "error: there is no file typo.yaml\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_service_of_another_file_is_left_alone(
    command: list[str],
    runs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "s3.yaml").touch()
    runs.append(str(tmp_path / "shunter.yaml"))
    assert said(monkeypatch, *command, "-c", "s3.yaml") == 2
    assert capsys.readouterr().err == f"error: {tmp_path / '.shunter'} runs shunter.yaml, not s3.yaml\n"


def test_its_own_file_is_known_by_any_name_and_also_when_it_is_gone(runs: list[str], tmp_path: Path) -> None:
    runs.append(str(tmp_path / "shunter.yaml"))
    (tmp_path / "link.yaml").symlink_to("shunter.yaml")
    for name in ("shunter.yaml", "link.yaml"):
        assert cli.config_file.refusal(tmp_path / name, tmp_path / ".shunter") is None
        assert cli.config_file.another(tmp_path / name, tmp_path / ".shunter") == ""
    assert cli.config_file.another(tmp_path / "s3.yaml", tmp_path / ".shunter") == runs[0]


def test_where_nothing_runs_the_command_says_so(
    runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert not runs
    (tmp_path / "shunter.yaml").touch()
    assert said(monkeypatch, "stop", "-c", "shunter.yaml") == 3
    assert "nothing runs for" in capsys.readouterr().err
