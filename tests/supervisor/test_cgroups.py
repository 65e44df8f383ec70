"""The control group of each worker, with directories in place of the kernel's, and real processes to end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ipc.names import WorkerName
from supervisor import aftermath, cgroups
from supervisor.cgroups import Cgroups, of_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from supervisor.events import Event

NAME = WorkerName("cpu", 0, 1)
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def one() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(SLEEP))
        return started[-1]

    yield one
    for popen in started:
        popen.kill()
        popen.wait()


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def above(tmp_path: Path) -> Path:
    path = tmp_path / "above"
    path.mkdir()
    return path


@pytest.fixture
def service(tmp_path: Path, above: Path, told: list[Event]) -> Cgroups:
    found = of_service(tmp_path, "1", told.append, lambda: above)
    assert found is not None
    return found


def put(cgroup: Path, *pids: int) -> None:
    (cgroup / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


def empty(cgroup: Path) -> None:
    """What the kernel does by itself when the last one is gone."""
    for path in cgroup.iterdir():
        path.unlink()


def test_where_nobody_delegated_any_there_are_none(tmp_path: Path, told: list[Event]) -> None:
    assert of_service(tmp_path, "1", told.append, lambda: None) is None
    assert not told


def test_what_was_delegated_and_cannot_be_used_is_told(tmp_path: Path, told: list[Event]) -> None:
    assert of_service(tmp_path, "1", told.append, lambda: tmp_path / "gone") is None
    assert "No such file" in str(told.pop())


def test_a_process_is_moved_to_a_group_with_its_worker_s_name(service: Cgroups) -> None:
    service.take_in(4711, NAME)
    assert [path.name for path in service.path.iterdir()] == ["cpu-0#1"]
    assert (service.path / "cpu-0#1/cgroup.procs").read_text() == "4711"


def test_all_that_is_in_the_group_of_a_dead_worker_ends_and_nobody_else(
    service: Cgroups, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker, fled, deeper, stranger = sleeper(), sleeper(), sleeper(), sleeper()
    service.take_in(worker.pid, NAME)
    cgroup = service.path / str(NAME)
    (cgroup / "made by the worker").mkdir()
    put(cgroup, worker.pid, fled.pid, 0)
    put(cgroup / "made by the worker", deeper.pid)
    service.kill(stranger.pid)  # of which it does not know
    service.kill(worker.pid)
    assert [popen.wait(60) for popen in (worker, fled, deeper)] == [-9, -9, -9]
    assert stranger.poll() is None
    empty(cgroup / "made by the worker")
    put(cgroup)
    service.forget(worker.pid)
    assert [path.name for path in cgroup.iterdir()] == ["cgroup.procs"]  # which stands for somebody in it
    empty(cgroup)
    service.sweep()
    assert not cgroup.exists()


def test_a_name_that_is_had_again_is_not_taken_for_the_one_who_left(
    service: Cgroups, sleeper: Callable[[], subprocess.Popen[bytes]], told: list[Event]
) -> None:
    """A group of workers was taken out of the configuration, and is in it again."""
    second, cgroup = sleeper(), service.path / str(NAME)
    service.take_in(4711, NAME)
    put(cgroup)  # somebody is still in it
    service.forget(4711)
    empty(cgroup)
    service.take_in(second.pid, NAME)
    assert not told
    assert (cgroup / "cgroup.procs").read_text() == str(second.pid)
    service.sweep()
    assert second.poll() is None
    service.kill(second.pid)
    assert second.wait(60) == -9


def test_who_was_too_quick_for_the_first_look_is_found_by_the_next(
    service: Cgroups, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    late = sleeper()
    service.take_in(4711, NAME)
    cgroup = service.path / str(NAME)
    put(cgroup)
    service.kill(4711)
    put(cgroup, late.pid)
    service.forget(4711)
    assert late.wait(60) == -9


def test_a_number_that_is_somebody_else_s_by_now_is_not_killed(
    tmp_path: Path, sleeper: Callable[[], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks the member ended, and a stranger got its number."""
    stranger = sleeper()
    put(tmp_path, stranger.pid)
    opened = os.pidfd_open

    def meanwhile(pid: int) -> int:
        put(tmp_path)
        return opened(pid)

    monkeypatch.setattr(os, "pidfd_open", meanwhile)
    aftermath.kill(str(tmp_path))
    assert stranger.poll() is None


def test_a_worker_that_ended_already_has_no_group_and_that_is_no_trouble(
    service: Cgroups, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object, **_more: object) -> int:
        raise ProcessLookupError

    monkeypatch.setattr("pathlib.Path.write_text", gone)
    service.take_in(4711, NAME)
    assert not list(service.path.iterdir())
    service.kill(4711)
    service.forget(4711)
    assert not told


def test_a_worker_without_a_group_is_told_of_once(service: Cgroups, told: list[Event]) -> None:
    service.path.rmdir()
    for slot in (0, 1):
        service.take_in(4711 + slot, WorkerName("cpu", slot, 1))
        service.kill(4711 + slot)
        service.forget(4711 + slot)
    assert [str(event).startswith("cpu-0#1 has no control group") for event in told] == [True]


def test_what_an_earlier_life_of_the_same_service_left_is_removed_if_it_is_empty(
    tmp_path: Path, above: Path, told: list[Event]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lives = [of_service(path, mark, told.append, lambda: above) for path, mark in ((tmp_path, "1"), (other, "2"))]
    lives.append(of_service(tmp_path, "3", told.append, lambda: above))  # removes the first, which is empty
    first, second, third = (life.path for life in lives if life is not None)
    third.joinpath("cpu-0#1").mkdir()
    put(third / "cpu-0#1")  # somebody is in it
    fourth = of_service(tmp_path, "4", told.append, lambda: above)
    assert fourth is not None
    assert [path.exists() for path in (first, second, third, fourth.path)] == [False, True, True, True]
    assert not told


def test_at_the_end_nothing_is_left_or_it_is_told(
    service: Cgroups, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "END_TIME", 0.05)
    (service.path / "cpu-0#1").mkdir()
    put(service.path / "cpu-0#1")
    service.close()
    assert str(service.path) in str(told.pop())
    empty(service.path / "cpu-0#1")
    service.close()
    assert not service.path.exists()
    assert not told


def test_of_endless_groups_only_so_many_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "MOST_CGROUPS", 3)
    for name in "abcdef":
        (tmp_path / "it" / name).mkdir(parents=True)
        (tmp_path / "it" / name / "deeper").mkdir()
    assert len(aftermath.tree(str(tmp_path / "it"))) == 3
