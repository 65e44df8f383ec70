"""Whose packages stand behind the names that Shunter imports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shunter

HERE = Path(shunter.__file__).parent


def asked(*argv: str, path: Path | None = None, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """One Python that does what an entry point does first; `cwd` and `path` stand before all else."""
    environ = {**os.environ, "PYTHONPATH": str(path)} if path else None
    command = [sys.executable, *(argv or ("-m", "shunter", "version"))]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=cwd, timeout=30)


def package(folder: Path, name: str, source: str = "#\n") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source)
    return folder / name / "__init__.py"


def distribution(folder: Path, name: str, files: list[str]) -> None:
    """What pip leaves behind of a wheel: who it is, and how long each of its files was."""
    info = folder / f"{name}-4.3.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.3.0\n")
    record = [f"{file},sha256=x,{(folder / file).stat().st_size}\n" for file in files]
    (info / "RECORD").write_text("".join(record))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder into which a wheel of Shunter was installed, with little in each package."""
    shutil.copy(HERE / "shunter.py", tmp_path)
    files = [str(package(tmp_path, name, f"# {name}\n").relative_to(tmp_path)) for name in shunter.PACKAGES]
    distribution(tmp_path, "shunter", [*files, "shunter.py"])
    return tmp_path


def checked(site: Path) -> subprocess.CompletedProcess[str]:
    look = f"import sys; sys.path.insert(0, {str(site)!r}); import shunter; shunter.check_ownership()"
    return asked("-I", "-S", "-c", look)


def test_our_own_are_taken() -> None:
    assert shunter.foreign(HERE) is None
    assert asked().stdout == f"shunter {shunter.VERSION}\n"


@pytest.mark.parametrize("name", shunter.PACKAGES)
def test_a_stranger_before_us_on_the_path_is_named(tmp_path: Path, name: str) -> None:
    theirs = package(tmp_path, name, "raise SystemExit('imported')")
    left = asked(path=tmp_path)
    assert left.returncode == 2
    assert left.stderr.startswith(f"error: '{name}' would be imported from {theirs}, which is not Shunter's;")
    assert left.stderr.count("\n") == 1


def test_so_is_the_distribution_it_came_with(tmp_path: Path) -> None:
    package(tmp_path, "supervisor")
    distribution(tmp_path, "supervisor", ["supervisor/__init__.py"])
    left = asked(path=tmp_path)
    assert left.returncode == 2
    assert "belongs to supervisor" in left.stderr
    assert "pip uninstall supervisor" in left.stderr


def test_a_module_in_the_current_directory_is_a_stranger_too(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("")
    left = asked(cwd=tmp_path)
    assert left.returncode == 2
    assert "start from another directory" in left.stderr


def test_an_installed_wheel_is_taken(site: Path) -> None:
    assert checked(site).returncode == 0


def test_a_wheel_that_wrote_over_ours_is_named(site: Path) -> None:
    (site / "supervisor/__init__.py").write_text("#\n")
    distribution(site, "supervisor", ["supervisor/__init__.py"])
    left = checked(site)
    assert left.returncode == 2
    assert f"{site}/supervisor/__init__.py belongs to supervisor," in left.stderr


def test_so_is_one_that_put_its_files_beside_ours(site: Path) -> None:
    (site / "supervisor/supervisord.py").write_text("")
    distribution(site, "supervisor", ["supervisor/supervisord.py"])
    left = checked(site)
    assert left.returncode == 2
    assert "supervisord.py belongs to supervisor," in left.stderr


def test_what_its_removal_took_with_it_is_missed(site: Path) -> None:
    shutil.rmtree(site / "supervisor")
    left = checked(site)
    assert left.returncode == 2
    assert "'supervisor' is not there, or not whole; install Shunter again" in left.stderr


def test_so_is_one_file_of_many(site: Path) -> None:
    package(site, "supervisor/plans")
    distribution(site, "shunter", ["supervisor/plans/__init__.py"])
    assert checked(site).returncode == 0
    (site / "supervisor/plans/__init__.py").unlink()
    assert "is missing; install Shunter again" in checked(site).stderr
    (site / "supervisor/__init__.py").unlink()
    assert "'supervisor' is not there, or not whole" in checked(site).stderr


def test_a_file_that_somebody_edited_is_his_own_affair(site: Path) -> None:
    (site / "ipc/__init__.py").write_text("# with a print in it\n")
    assert checked(site).returncode == 0


def test_the_version_is_the_one_that_is_published() -> None:
    pyproject = (HERE / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)[1] == shunter.VERSION
