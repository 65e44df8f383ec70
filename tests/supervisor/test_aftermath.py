"""Who is ended when a supervisor was killed, and who is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from supervisor import aftermath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MARK = "123"
VARIABLE = f"SHUNTER_SERVICE={MARK}"
SLEEP = [sys.executable, "-S", "-c", "import time; print(1, flush=True); time.sleep(60)"]
WITHOUT_KERNEL = """
import runpy, sys
sys.argv = sys.argv[1:]
found = runpy.run_path(sys.argv[0])
found["main"].__globals__["PARTING"] = 30.0
found["main"].__globals__["clear"] = lambda *_: True
found["main"]()
"""
"""Runs it where control groups are plain directories, which are never empty."""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    with ExitStack() as stack:

        def one(*words: str, mark: str = "", apart: bool = False) -> subprocess.Popen[bytes]:
            environment = dict([mark.split("=")]) if mark else {}
            popen = subprocess.Popen([*SLEEP, *words], stdout=subprocess.PIPE, env=environment, start_new_session=apart)
            stack.enter_context(popen)
            stack.callback(popen.kill)
            assert popen.stdout is not None
            popen.stdout.readline()
            return popen

        yield one


def is_left(popen: subprocess.Popen[bytes], *leaders: int) -> bool:
    return aftermath.is_left(popen.pid, heard(*leaders), MARK)


def heard(*pids: int) -> dict[int, float]:
    """As if one had just been told of these."""
    return dict.fromkeys(pids, time.clock_gettime(time.CLOCK_BOOTTIME))


def test_it_is_told_of_workers_a_line_each_and_the_rest_is_left() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"+12\n+345\n-12\n+67\n+8")
    os.write(writer, b"9\n-1\n")
    os.close(writer)
    left, guards = aftermath.hear(reader) or ({}, {0})
    assert (set(left), guards) == ({345, 67, 89}, set())
    os.close(reader)


def test_guards_are_told_of_apart_and_after_a_full_stop_nothing_is_left() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"+12\n*345\n*67\n-67\n*8\n+8\n")
    os.close(writer)
    left, guards = aftermath.hear(reader) or ({}, {0})
    assert (set(left), guards) == ({12, 345, 8}, {345})
    os.close(reader)
    reader, writer = os.pipe()
    os.write(writer, b"+12\n.\n")
    assert aftermath.hear(reader) is None
    os.close(writer)
    os.close(reader)


def test_guards_are_waited_for_but_not_for_ever(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    brief, endless = start(), start()
    brief.kill()
    aftermath.wait_for({brief.pid}, 3600.0)
    brief.wait()
    aftermath.wait_for({brief.pid}, 3600.0)
    aftermath.wait_for({endless.pid}, 0.01)
    assert endless.poll() is None


def test_a_guard_has_its_time_and_what_it_leaves_is_ended_then(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    worker = start(apart=True)
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(1)"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code, *SLEEP], stdout=subprocess.PIPE, start_new_session=True
    ) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        told = f"+{worker.pid}\n*{guard.pid}\n".encode()
        subprocess.run([sys.executable, "-I", "-S", aftermath.__file__, MARK], input=told, check=True)
        assert worker.wait() == -signal.SIGKILL
        assert guard.wait() == 0, "it ended by itself"
        assert guard.stdout.read() == b"", "nobody has the other end"


def test_what_a_program_made_a_control_group_for_is_its_guard_s_too(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    worker, part = start(apart=True), start(apart=True)
    code = "import os, sys, time; print(1, flush=True); time.sleep(1); os.kill(int(sys.argv[1]), 15)"
    with subprocess.Popen([*SLEEP[:-1], code, str(part.pid)], stdout=subprocess.PIPE, start_new_session=True) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        for name, popen in {"cpu-0#1": worker, "tools-0#1": guard, "tools-0#1/part": part}.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "cgroup.procs").write_text(f"{popen.pid}\n")
        argv = [sys.executable, "-I", "-S", "-c", WITHOUT_KERNEL, aftermath.__file__, MARK, str(tmp_path)]
        subprocess.run(argv, input=f"*{guard.pid}\n".encode(), check=True)
        assert worker.wait() == -signal.SIGKILL
        assert guard.wait() == 0, "it ended by itself"
        assert part.wait() == -signal.SIGTERM, "and it this"


def test_whoever_is_in_a_session_that_was_told_of_or_has_the_mark_is_left(
    start: Callable[..., subprocess.Popen[bytes]],
) -> None:
    stranger, apart, marked = start(), start(apart=True), start(mark=VARIABLE, apart=True)
    assert not is_left(stranger)
    assert not is_left(apart)
    assert is_left(apart, apart.pid)
    assert is_left(marked)
    assert not is_left(start(mark=f"{VARIABLE}4")), "that is another service's"
    assert not is_left(start(mark=f"X{VARIABLE}"))
    assert is_left(start("--mark", MARK, "--more"))
    assert not is_left(start("--mark", f"{MARK}4"))
    assert not is_left(start("X--mark", MARK))
    assert not is_left(start(MARK)), "somebody looks for it"


def test_who_has_ended_is_not_left_and_a_stranger_lives_on(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    """F44: whoever has a number is looked at again once it is held fast, and only then ended."""
    stranger, marked = start(), start(mark=VARIABLE)
    assert not aftermath.end(stranger.pid, heard(1), MARK)
    assert aftermath.end(marked.pid, {}, MARK)
    os.waitid(os.P_PID, marked.pid, os.WEXITED | os.WNOWAIT)
    assert not is_left(marked), "a zombie"
    assert stranger.poll() is None
    marked.wait()
    assert not aftermath.end(marked.pid, heard(marked.pid), MARK)


def test_a_number_that_somebody_got_after_a_worker_is_no_worker_s(
    start: Callable[..., subprocess.Popen[bytes]],
) -> None:
    """F44."""
    told = time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))  # the kernel tells no finer when a process was started
    stranger = start(apart=True)
    assert not aftermath.is_left(stranger.pid, {stranger.pid: told}, MARK)
    assert not aftermath.end(stranger.pid, {stranger.pid: told}, MARK)
    assert aftermath.is_left(stranger.pid, heard(stranger.pid), MARK)
    assert stranger.poll() is None


def test_what_is_in_a_session_without_its_leader_is_a_worker_s(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Nobody gets a number that is a session's."""
    code = "import os, time; pid = os.fork(); pid and print(pid, flush=True); pid or time.sleep(60)"
    argv = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        left = int(leader.stdout.readline())
    told = {leader.pid: time.clock_gettime(time.CLOCK_BOOTTIME)}
    assert aftermath.end(left, told, MARK)
