"""A project to begin with: whole, runnable by its own files, and never written over somebody's work."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import yaml

from cli.init import init

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FILES = {
    "shunter.yaml",
    "README.md",
    ".gitignore",
    "service/__init__.py",
    "service/numbers.py",
    "service/texts.py",
}


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_project_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path / "demo") == 0
    assert written(tmp_path / "demo") == FILES
    said = capsys.readouterr().out
    assert f"  cd {tmp_path}/demo\n  shunter start\n" in said


def test_in_the_current_directory_there_is_nowhere_to_change_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(tmp_path) == 0
    assert "  cd " not in capsys.readouterr().out


def test_what_is_there_stays_and_nothing_is_written_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert init(tmp_path) == 2
    assert written(tmp_path) == {"README.md"}
    assert (tmp_path / "README.md").read_text() == "mine"
    assert f"{tmp_path}/README.md" in capsys.readouterr().err


def test_other_files_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("mine")
    assert init(tmp_path) == 0
    assert written(tmp_path) == FILES | {"LICENSE"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert init(tmp_path / "file") == 1
    assert f"{tmp_path}/file" in capsys.readouterr().err


def test_its_configuration_names_functions_that_exist_and_are_right(tmp_path: Path) -> None:
    init(tmp_path)
    config = yaml.safe_load((tmp_path / "shunter.yaml").read_text())
    nodes = [endpoint["node"] for endpoint in config["runtime"]["web"]["interfaces"][0]["endpoints"]]
    assert nodes == ["service.numbers.count_primes", "service.texts.fingerprint"]
    look = (
        "from service.numbers import count_primes as p; from service.texts import *; "
        "print([p(n)['primes'] for n in (2, 3, 4, 5, 100, 10**6)], fingerprint(Text('a', 2)).sha256)"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True)
    twice = hashlib.sha256(hashlib.sha256(b"a").digest()).hexdigest()
    assert done.stdout == f"[0, 1, 2, 2, 25, 78498] {twice}\n"
