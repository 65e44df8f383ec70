"""Names are read back exactly as they were written, and stand for one life of one worker on the wire."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.names import GROUP_PATTERN, WorkerName, new_call_id, parse_worker

NAMES = st.builds(
    WorkerName, st.from_regex(GROUP_PATTERN, fullmatch=True), st.integers(0, 9999), st.integers(0, 9_999_999_999)
)


@given(NAMES)
def test_what_is_written_is_read(name: WorkerName) -> None:
    assert parse_worker(str(name)) == name
    assert str(name).startswith(name.seat)


@given(st.one_of(st.text(), st.from_regex(r"[a-z]+-\d+#\d+", fullmatch=True)))
def test_what_is_read_is_what_is_written(text: str) -> None:
    try:
        name = parse_worker(text)
    except ValueError:
        return
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        "web-0",
        "web#1",
        "web-0#",
        "web-0#1\n",
        " web-0#1",
        "Web-0#1",
        "0web-0#1",
        "web-00#1",
        "web-0#01",
        "web-+1#1",
        "web--1#1",
        "web-\u0661#1",
        "web-0#\u00b2",
        "w\u00e9b-0#1",
        "web-10000#1",
        "web-0#10000000000",
        "a" * 33 + "-0#1",
    ],
)
def test_nothing_else_is_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a worker's name"):
        parse_worker(text)


@given(NAMES, NAMES)
def test_two_lives_never_look_alike_on_the_wire(one: WorkerName, two: WorkerName) -> None:
    assert len(one.wire_id) == len(one.wire_incarnation) == 16
    assert (one.wire_id == two.wire_id) == (one.seat == two.seat)
    same = one.wire_id + one.wire_incarnation == two.wire_id + two.wire_incarnation
    assert same == (one == two)


def test_call_ids_do_not_repeat() -> None:
    ids = [new_call_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {len(call_id) for call_id in ids} == {16}


FORK = """
import os
from ipc import names
first = names.new_call_id()
if not os.fork():
    print(len(names._fresh), names.new_call_id().hex(), flush=True)
    os._exit(0)
os.wait()
print(*(names.new_call_id().hex() for _ in range(300)))
"""


def test_a_fork_does_not_inherit_ids_that_were_drawn() -> None:
    told = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True).stdout
    left, theirs, *ours = told.split()
    assert left == "0"
    assert theirs not in ours
