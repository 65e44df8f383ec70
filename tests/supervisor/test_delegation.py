"""In which control groups others are made, and in which never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from supervisor import delegation
from supervisor.delegation import delegated

if TYPE_CHECKING:
    from pathlib import Path

HYBRID = "4:memory:/process_api/x\n1:name=systemd:/\n0::{}\n"


class Machine:
    """What a process sees of control groups: a tree, and two files that say where it is in it."""

    def __init__(self, path: Path) -> None:
        self.proc, self.tree = path / "proc", path / "a tree"
        (self.proc / "self").mkdir(parents=True)
        self.tree.mkdir()
        self.marked: set[Path] = set()
        self.mounts()

    def mounts(self, root: str = "/", options: str = "rw,nosuid") -> None:
        point = str(self.tree).replace(" ", "\\040")
        lines = (
            "22 1 8:1 / / rw - ext4 /dev/root rw",
            "30 22 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            f"31 22 0:27 {root} {point} {options} shared:9 - cgroup2 cgroup2 rw,nsdelegate",
        )
        (self.proc / "self/mountinfo").write_text("\n".join(lines) + "\n")

    def is_in(self, inside: str, where: str | None = None, kind: str | None = "domain") -> Path:
        """The process is in this group; with `kind` None that is the machine's root."""
        (self.proc / "self/cgroup").write_text(HYBRID.format(inside))
        path = self.tree / (inside if where is None else where).lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").touch()
        if kind is not None:
            (path / "cgroup.type").write_text(kind + "\n")
        return path

    @property
    def found(self) -> Path | None:
        return delegated(self.proc, self.marked.__contains__)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_unit_with_delegate_is_ours(machine: Machine) -> None:
    path = machine.is_in("/system.slice/shop.service")
    machine.marked.add(path)
    assert machine.found == path


@pytest.mark.parametrize("inside", ["/system.slice/shop.service", "/user.slice/user-0.slice/session-1.scope"])
def test_to_be_allowed_to_write_is_no_proof(machine: Machine, inside: str) -> None:
    machine.is_in(inside)
    machine.marked.add(machine.tree)
    assert machine.found is None


def test_the_root_of_the_machine_is_nobody_s(machine: Machine) -> None:
    machine.marked.add(machine.is_in("/", kind=None))
    assert machine.found is None


def test_the_root_of_a_container_is_its_own(machine: Machine) -> None:
    assert machine.is_in("/") == machine.found == machine.tree


def test_what_is_below_the_root_of_a_container_may_be_its_systemd_s(machine: Machine) -> None:
    machine.is_in("/")
    machine.is_in("/init.scope")
    assert machine.found is None


def test_a_container_that_sees_only_its_part_of_its_machine_s_tree_needs_the_mark(machine: Machine) -> None:
    machine.mounts(root="/system.slice/docker-1.scope")
    path = machine.is_in("/system.slice/docker-1.scope", "/")
    assert machine.found is None
    machine.marked.add(path)
    assert machine.found == path
    machine.is_in("/system.slice/docker-12.scope", "/")
    assert machine.found is None


@pytest.mark.parametrize("kind", ["threaded", "domain threaded", "domain invalid"])
def test_a_group_for_threads_takes_no_processes(machine: Machine, kind: str) -> None:
    machine.marked.add(machine.is_in("/shop", kind=kind))
    assert machine.found is None


@pytest.mark.parametrize("inside", ["/../other", "/shop (deleted)"])
def test_what_cannot_be_seen_from_here_is_not_guessed(machine: Machine, inside: str) -> None:
    machine.marked |= {machine.is_in("/"), machine.is_in("/shop")}
    (machine.proc / "self/cgroup").write_text(HYBRID.format(inside))
    assert machine.found is None


@pytest.mark.parametrize("forbidden", ["", "cgroup.procs"])
def test_what_cannot_be_written_is_not_ours(machine: Machine, forbidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.is_in("/")
    monkeypatch.setattr(delegation.os, "access", lambda which, _how: which != path / forbidden)
    assert machine.found is None


@pytest.mark.parametrize("text", ["4:memory:/x\n", "", "nonsense\n"])
def test_without_version_2_there_is_nothing_to_have(machine: Machine, text: str) -> None:
    machine.is_in("/")
    (machine.proc / "self/cgroup").write_text(text)
    assert machine.found is None


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert delegated(tmp_path) is None


@pytest.mark.parametrize("mark", delegation.MARKS)
def test_either_mark_of_systemd_counts_if_it_says_yes(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {mark: b"1"}

    def getxattr(_path: Path, name: str) -> bytes:
        try:
            return values[name]
        except KeyError:
            raise OSError from None

    monkeypatch.setattr(delegation.os, "getxattr", getxattr)
    assert delegation.is_marked(tmp_path)
    values[mark] = b"0"
    assert not delegation.is_marked(tmp_path)
