"""A page that one process writes and another reads, at any moment, without asking."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ipc.scoreboard import PAGE, SLOTS, Scoreboard, create

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def page() -> Iterator[int]:
    fd = create("cpu-0#1")
    yield fd
    os.close(fd)


def test_what_is_counted_is_read_through_another_mapping(page: int) -> None:
    writer, reader = Scoreboard(page), Scoreboard(page)
    assert reader.read() == (0, 0, 0)
    writer.begin()
    assert reader.read() == (0, 1, 0)
    writer.begin()
    writer.end()
    writer.refuse()
    assert reader.read() == (1, 1, 1)
    writer.end()
    assert reader.read() == (2, 0, 1)
    writer.close()
    assert reader.read() == (2, 0, 1)
    reader.close()


def test_slots_do_not_touch_each_other(page: int) -> None:
    boards = [Scoreboard(page, slot) for slot in range(SLOTS)]
    for slot, board in enumerate(boards):
        for _ in range(slot):
            board.begin()
            board.end()
    for slot, board in enumerate(boards):
        assert board.read() == (slot, 0, 0)
        board.close()


def test_a_page_is_as_large_as_it_is_said_to_be(page: int) -> None:
    assert os.fstat(page).st_size == PAGE
    assert not os.get_inheritable(page)


def run(page: int, code: str) -> subprocess.Popen[bytes]:
    code = f"from ipc.scoreboard import Scoreboard; import os, sys; board = Scoreboard({page})\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], pass_fds=[page], stdin=subprocess.PIPE)


def test_the_counts_of_a_process_that_was_killed_are_still_there(page: int) -> None:
    worker = run(page, "board.begin(); board.end(); board.begin(); os.kill(os.getpid(), 9)")
    worker.communicate()
    assert worker.returncode == -9
    reader = Scoreboard(page)
    assert reader.read() == (1, 1, 0)
    reader.close()


TWO_BYTES_AT_ONCE = """
os.set_blocking(0, False)
while sys.stdin.buffer.read(1) is None:
    for _ in range(2000):
        board._running = 255
        board.begin()
        board.end()
"""


def test_no_number_is_ever_half_written(page: int) -> None:
    """A reader in another process sees what was, or what is."""
    board = Scoreboard(page)
    worker = run(page, TWO_BYTES_AT_ONCE)
    try:
        while not board.read()[1]:
            assert worker.poll() is None
        seen = {board.read()[1] for _ in range(200_000)}
    finally:
        worker.communicate(b"stop")
    board.close()
    assert seen <= {255, 256}


def test_nobody_who_has_the_page_can_cut_it_short(page: int) -> None:
    """Its readers would die of it."""
    for size in (0, PAGE - 1, 2 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(page, size)
