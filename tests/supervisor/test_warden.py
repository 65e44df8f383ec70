"""The process that ends what is left of a killed service: there while it is of use, and no burden when it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import aftermath
from supervisor import warden as wardens
from supervisor.events import Trouble
from supervisor.warden import Warden

if TYPE_CHECKING:
    import pytest

    from supervisor.events import Event

PATIENCE = 30.0


def ended(pid: int) -> None:
    """Wait until it has, without reaping it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_one_that_is_killed_is_replaced_and_one_that_ends_at_once_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    warden = Warden(told.append)
    warden.start()
    try:
        (first,) = warden.pids
        warden.tend()
        assert warden.pids == (first,)
        monkeypatch.setattr(wardens, "LEAST_LIFE", 0.0)
        os.kill(first, signal.SIGKILL)
        ended(first)
        warden.tend()
        (second,) = warden.pids
        assert (second != first, told) == (True, [])
        monkeypatch.setattr(wardens, "LEAST_LIFE", 1e9)
        os.kill(second, signal.SIGKILL)
        ended(second)
        warden.tend()
        assert warden.pids == ()
        assert isinstance(told[0], Trouble)
        warden.note(1)  # nobody hears it
        warden.forget(1)
        warden.tend()
        assert len(told) == 1
    finally:
        warden.stop()


def test_one_that_misses_a_word_is_replaced_and_the_next_is_told_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by somebody it reads nothing, and its pipe fills."""
    told: list[Event] = []
    monkeypatch.setattr(wardens, "LEAST_LIFE", 0.0)
    warden = Warden(told.append)
    warden.start()
    try:
        (first,) = warden.pids
        os.kill(first, signal.SIGSTOP)
        os.waitid(os.P_PID, first, os.WSTOPPED)
        bystander = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
        )
        try:
            warden.note(bystander.pid)
            for _ in range(1 << 15):  # pipes hold 65,536 bytes
                warden.forget(1)
            deadline = time.monotonic() + PATIENCE
            while warden.pids == (first,):
                assert time.monotonic() < deadline
                warden.tend()
            second = warden._popen
            assert second is not None
            warden._drop()  # as if this process had been killed
            assert bystander.wait(PATIENCE) == -signal.SIGKILL
            second.wait()
            assert not told
        finally:
            bystander.kill()
            bystander.wait()
    finally:
        warden.stop()


def test_after_an_orderly_stop_nobody_is_ended() -> None:
    """Whoever was meant to outlive the service, and has its mark, does."""
    warden = Warden(lambda _event: None)
    warden.start()
    environment = {aftermath.VARIABLE: warden.mark}
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env=environment) as heir:
        warden.stop()
        assert heir.poll() is None
        heir.communicate(b"\n")
    assert heir.returncode == 0


def test_a_program_that_is_not_there_is_trouble_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    warden = Warden(told.append)
    monkeypatch.setattr(wardens.sys, "executable", "/nowhere/python")
    warden.start()
    assert warden.pids == ()
    assert "what workers started will stay" in str(told[0])
    warden.stop()


def test_it_ends_with_its_supervisor_s_word_and_hears_no_signal_that_is_meant_for_all() -> None:
    warden = Warden(lambda _event: None)
    warden.start()
    (pid,) = warden.pids
    deadline = time.monotonic() + PATIENCE
    while not ignores(pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    warden.tend()
    assert warden.pids == (pid,)
    warden.stop()
    assert not Path(f"/proc/{pid}").exists()


def ignores(pid: int, signum: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = int(next(line for line in lines if line.startswith("SigIgn")).split()[1], 16)
    return bool(ignored >> (signum - 1) & 1)
