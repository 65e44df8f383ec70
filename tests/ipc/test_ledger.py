"""What a worker had begun, as its supervisor reads it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import Misuse
from ipc.ledger import BEGUN, IDLE, MAX_ROWS, Ledger, size
from ipc.scoreboard import PAGE, Scoreboard, create

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def page() -> Iterator[int]:
    fd = create("cpu-0#1", size(3))
    yield fd
    os.close(fd)


def call(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_call_that_runs_is_seen_through_another_mapping(page: int) -> None:
    worker, supervisor = Ledger(page), Ledger(page)
    assert supervisor.due() == math.inf
    row = worker.begin(call(7), 100.0, 0.25)
    (seen,) = supervisor.running()
    assert (seen.row, seen.call_id, seen.kill_at, seen.cancel_grace) == (row, call(7), 100.0, 0.25)
    assert supervisor.due() == 100.0
    worker.end(row)
    assert list(supervisor.running()) == []
    assert supervisor.due() == math.inf
    assert supervisor.begun().ids == (call(7),)


def test_the_first_that_is_due_counts(page: int) -> None:
    worker, supervisor = Ledger(page), Ledger(page)
    rows = [worker.begin(call(n), at, math.inf) for n, at in enumerate((30.0, 10.0, 20.0))]
    assert supervisor.due() == 10.0
    worker.end(rows[1])
    assert supervisor.due() == 20.0


def test_what_a_page_is_too_small_for_is_a_bug_of_ours(page: int) -> None:
    ledger = Ledger(page)
    many = (os.fstat(page).st_size - PAGE - BEGUN * 32) // 64
    for n in range(many):
        ledger.begin(call(n), 1.0, 0.0)
    with pytest.raises(Misuse, match="calls at once"):
        ledger.begin(call(many), 1.0, 0.0)
    for wrong in (0, MAX_ROWS + 1):
        with pytest.raises(Misuse):
            size(wrong)
    small = create("small")
    with pytest.raises(Misuse, match="no room"):
        Ledger(small)
    os.close(small)


def test_the_scoreboard_and_the_ledger_do_not_touch_each_other(page: int) -> None:
    board, ledger = Scoreboard(page), Ledger(page)
    board.begin()
    row = ledger.begin(b"\xff" * 16, math.inf, math.inf)
    assert board.read() == (0, 1, 0)
    ledger.end(row)
    assert board.read() == (0, 1, 0)
    assert [board.read(slot) for slot in range(1, 64)] == [(0, 0, 0)] * 63


@given(st.lists(st.sampled_from(["begin", "end"]), max_size=60), st.integers(0, BEGUN * 2))
def test_nothing_that_was_begun_is_ever_said_not_to_be(moves: list[str], before: int) -> None:
    ledger = Ledger(-1)
    sent: dict[bytes, float] = {}
    rows: list[int] = []
    clock = 0.0
    for number in range(before):
        ledger.end(ledger.begin(call(number), 1.0, 0.0))
    for number, move in enumerate(moves, before):
        if move == "begin":
            clock = ledger.begun().since  # sent no later than begun
            rows.append(ledger.begin(call(number), 1.0, 0.0))
            sent[call(number)] = clock
        elif rows:
            ledger.end(rows.pop())
    begun = ledger.begun()
    for call_id in map(call, range(before + len(moves))):
        was_begun = call_id in sent or int.from_bytes(call_id, "big") < before
        if was_begun:
            assert call_id in begun.ids or begun.since > 0, "it may be forgotten, but then it is known that some are"
    assert len(begun.ids) <= BEGUN + len(rows)
    assert {running.call_id for running in ledger.running()} <= set(begun.ids)


def test_a_ring_that_went_round_says_from_when_on_it_is_whole() -> None:
    ledger = Ledger(-1)
    for number in range(BEGUN + 1):
        ledger.end(ledger.begin(call(number), 1.0, 0.0))
    begun = ledger.begun()
    assert call(0) not in begun.ids
    assert call(1) in begun.ids
    assert begun.since > 0


def test_what_runs_is_begun_however_long_ago_that_was() -> None:
    ledger = Ledger(-1)
    ledger.begin(call(9999), 1.0, 0.0)
    for number in range(BEGUN):
        ledger.end(ledger.begin(call(number), 1.0, 0.0))
    assert call(9999) in ledger.begun().ids


_WRITER = """
import sys
from ipc.ledger import Ledger
ledger = Ledger(int(sys.argv[1]))
number = 0
print(flush=True)
while True:
    row = ledger.begin(number.to_bytes(16, "big"), 9.0, 0.0)
    sys.stdout.buffer.write(b".")  # the effect: what is written was begun
    ledger.end(row)
    number += 1
"""


def test_it_tells_the_truth_of_a_process_that_was_killed_in_the_middle(page: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", _WRITER, str(page)], pass_fds=[page], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.read(2000)
        writer.send_signal(signal.SIGKILL)
        effects = 2000 + len(writer.stdout.read())
    begun = set(Ledger(page).begun().ids)
    assert call(effects - 1) in begun
    assert call(effects + 1) not in begun, "at most one more was begun than had an effect"
    assert IDLE == 0
