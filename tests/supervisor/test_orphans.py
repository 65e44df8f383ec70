"""Processes that nobody looks after: ended, however many they are, and whatever they may do."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import psutil
import pytest

from supervisor import orphans
from supervisor.orphans import Orphans, adopted

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILY = """
import os, time
for _ in range(30):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""
SIZE = 61


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """One that this process does not look after, in many sessions."""
    with adopted():
        left = Orphans(set)
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(FAMILY)], stdout=subprocess.PIPE) as root:
            assert root.stdout is not None
            try:
                pids = [root.pid, *(int(root.stdout.readline()) for _ in range(SIZE - 1))]
                yield [psutil.Process(pid) for pid in pids]
            finally:
                left.end()


def living(family: list[psutil.Process]) -> int:
    return sum(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


def test_there_may_be_more_of_them_than_this_process_may_have_files(family: list[psutil.Process]) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 8, before[1]))
    try:
        Orphans(set).end()  # they are not its own
        assert living(family) == SIZE
        _all_of(family).end()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert living(family) == 0
    assert not {child.pid for child in psutil.Process().children()} & {each.pid for each in family}, "none is a zombie"


def test_where_no_descriptor_of_a_process_can_be_had_they_end_all_the_same(
    family: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", refuse)
    _all_of(family).end()
    assert living(family) == 0


def test_who_may_not_be_killed_is_not_waited_for_and_the_others_end(
    family: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill, root = os.kill, family[0].pid

    def may(pid: int, what: int) -> None:
        if pid == root:
            raise PermissionError
        kill(pid, what)

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", may)
        _all_of(family).end()
    assert living(family) == 1


def test_who_does_not_end_is_not_waited_for_for_ever(
    family: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = os.kill
    with monkeypatch.context() as patched:
        patched.setattr(orphans, "END_TIME", 0.2)
        patched.setattr(os, "kill", lambda pid, what: what == signal.SIGKILL or kill(pid, what))
        _all_of(family).end()
    assert living(family) == 1


@pytest.mark.parametrize("first", [False, True])
def test_strangers_are_reaped_and_who_is_looked_after_keeps_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    looked_after: list[int] = []
    left = Orphans(lambda: looked_after)
    ours, stranger = (os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {}) for code in (3, 4))
    looked_after.append(ours)
    for pid in (ours, stranger):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if first:
        monkeypatch.setattr(orphans, "_children", lambda _parent: [ours, stranger])
        monkeypatch.setattr(os, "getpid", lambda: 1)
    left.reap()
    assert os.waitstatus_to_exitcode(os.waitpid(ours, 0)[1]) == 3
    with pytest.raises(ChildProcessError):
        os.waitpid(stranger, 0)


def test_who_has_the_number_of_one_that_has_ended_is_left_alone() -> None:
    """F44. It was seen as somebody's child, and is somebody else's by now."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as somebody:
        assert not orphans._send(orphans._Found(somebody.pid, 1), signal.SIGKILL)
        assert somebody.poll() is None
        somebody.kill()


def _all_of(family: list[psutil.Process]) -> Orphans:
    """Those of somebody who was there before them."""
    theirs = Orphans(set)
    theirs._before -= {family[0].pid}
    return theirs
