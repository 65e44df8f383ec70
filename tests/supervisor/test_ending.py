"""How an end reads, and what is known of the kernel's part in it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ending import FAULTS, Ending
from supervisor.oom import OutOfMemory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Ending(0), "exited with code 0"),
        (Ending(3), "exited with code 3"),
        (Ending(127), "exited with code 127 (which a shell says if there is no such command)"),
        (Ending(137), "exited with code 137 (which a shell says for SIGKILL)"),
        (Ending(-9, ours=True), "killed by SIGKILL"),
        (Ending(-9), "killed by SIGKILL (not by Shunter: somebody else did, or the kernel)"),
        (Ending(-9, starved="surely"), "killed by SIGKILL (out of memory)"),
        (Ending(-9, starved="probably"), "killed by SIGKILL (probably out of memory)"),
        (Ending(-15), "killed by SIGTERM (somebody else sent it; Shunter sends none)"),
        (Ending(-15, told=15), "ended by SIGTERM, as told"),
        (Ending(-3, dumped=True, told=3), "ended by SIGQUIT, as told, core dumped"),
        (Ending(-9, told=2, late=2.0), "killed: had not ended in 2 s after SIGINT"),
        (Ending(-9, told=2), "killed by SIGKILL (not by Shunter: somebody else did, or the kernel)"),
        (Ending(-9, starved="surely", told=2, late=2.0), "killed by SIGKILL (out of memory)"),
        (Ending(-15, told=2), "killed by SIGTERM (somebody else sent it; Shunter sends none)"),
        (Ending(-signal.SIGUSR2), "killed by SIGUSR2"),
        (Ending(-99, dumped=True), "killed by signal 99, core dumped"),
    ],
)
def test_an_end_in_words(ending: Ending, words: str) -> None:
    assert str(ending) == words


@given(st.builds(Ending, st.integers(-128, 255), st.booleans(), st.booleans(), st.sampled_from(["", "surely"])))
def test_every_end_has_words_and_somebody_to_blame(ending: Ending) -> None:
    assert str(ending).startswith(("exited with code ", "killed"))
    assert "()" not in str(ending)
    assert ending.crashed == (ending.code >= 0 or -ending.code in FAULTS or ending.starved == "surely")


MEMORY = "low 0\noom 1\noom_kill {}\n"


@pytest.mark.parametrize(
    ("groups", "counter", "sure"),
    [
        ("0::/shop.service\n", "fs/shop.service/memory.events", "surely"),
        ("0::/../../as/the/host/says\n", "fs/memory.events", "surely"),
        ("4:cpu:/x\n3:memory:/shop\n0::/\n", "fs/memory/shop/memory.oom_control", "surely"),
        ("3:cpu,memory:/docker/abc\n", "fs/memory/memory.oom_control", "surely"),
        ("0::/shop.service\n", "proc/vmstat", "probably"),
        ("nonsense\n", "proc/vmstat", "probably"),
    ],
)
def test_each_kill_for_want_of_memory_is_told_once(tmp_path: Path, groups: str, counter: str, sure: str) -> None:
    for path, text in (("proc/self/cgroup", groups), (counter, MEMORY.format(1))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    memory = OutOfMemory(tmp_path / "proc", tmp_path / "fs")
    assert not memory.struck()
    (tmp_path / counter).write_text(MEMORY.format(3))
    assert [memory.struck() for _ in range(3)] == [sure, sure, ""]
    (tmp_path / counter).write_text(MEMORY.format(6))
    memory.look()
    assert memory.struck(), "who is killed is buried a little later"
    memory.look()
    assert not memory.struck(), "those were others, of whose end nobody tells"
    (tmp_path / counter).unlink()
    assert not memory.struck()


def test_where_nobody_counts_nothing_is_claimed(tmp_path: Path) -> None:
    assert not OutOfMemory(tmp_path, tmp_path).struck()
