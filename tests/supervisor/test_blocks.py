"""Which lines of a standard error belong together."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.blocks import MAX_BLOCK, Blocks

PLAIN = "raise ValueError('first')"
CHAINED = "try: 1 / 0\nexcept ZeroDivisionError as e: raise ValueError('second') from e"
DURING = "try: 1 / 0\nexcept ZeroDivisionError: raise ValueError('second')"
GROUP = "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"
THREAD = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()"
SEGFAULT = "import faulthandler, ctypes\nfaulthandler.enable()\nctypes.string_at(0)"
NESTED = "def f(n):\n    return f(n - 1) if n else 1 / 0\nf(5)"


def blocks(lines: list[str]) -> list[str]:
    found = Blocks()
    return [block for line in lines for block in found.feed(line)] + found.end()


@pytest.mark.parametrize("program", [PLAIN, CHAINED, DURING, GROUP, THREAD, SEGFAULT, NESTED])
def test_what_python_writes_when_it_fails_is_one_block(program: str) -> None:
    wrote = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr
    (block,) = blocks(wrote.splitlines())
    assert block == wrote.rstrip("\n")
    assert blocks(["before", *wrote.splitlines(), "after"]) == ["before", block, "after"]


def test_two_tracebacks_in_a_row_are_two_blocks() -> None:
    wrote = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=False).stderr
    assert blocks(2 * wrote.splitlines()) == [wrote.rstrip("\n")] * 2


def test_the_stacks_of_all_threads_are_one_block() -> None:
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        wrote = file.read().decode()
    assert blocks(["before", *wrote.splitlines(), '{"event": "after"}']) == [
        "before",
        wrote.rstrip("\n"),
        '{"event": "after"}',
    ]


def test_a_traceback_without_end_is_cut() -> None:
    lines = ["Traceback (most recent call last):", *["  " + "x" * 1000] * 1000]
    found = blocks(lines)
    assert max(map(len, found)) <= MAX_BLOCK
    assert "\n".join(found) == "\n".join(lines)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "",
                "x",
                "  x",
                "ValueError: x",
                "Traceback (most recent call last):",
                "During handling of the above exception, another exception occurred:",
                "  + Exception Group Traceback (most recent call last):",
                "Thread 0x7 (most recent call first):",
            ]
        )
    )
)
def test_no_line_is_lost_or_made_whatever_comes(lines: list[str]) -> None:
    assert [line for block in blocks(lines) for line in block.split("\n")] == lines
