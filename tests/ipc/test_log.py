"""What a worker's log promises: whole lines, no waiting, and honesty about what was lost."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.log import MAX_LINE, Log
from ipc.messages.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def lines(reader: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(reader, 1 << 20).splitlines()]


def test_a_line_says_when_how_bad_who_and_what(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    Log("cpu-0#1", LogSettings(), writer).info("started", port=80)
    (line,) = lines(reader)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "worker": "cpu-0#1", "event": "started", "port": 80}


def test_what_is_below_the_level_is_not_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = Log("cpu-0#1", LogSettings(level="warning"), writer)
    log.debug("one")
    log.info("two")
    log.warning("three")
    log.error("four")
    assert [line["event"] for line in lines(reader)] == ["three", "four"]


def test_an_error_brings_its_traceback_and_no_values(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    def fail(hidden: str) -> None:
        raise ValueError(len(hidden))

    try:
        fail("hush" * 3)
    except ValueError as error:
        Log("cpu-0#1", LogSettings(), writer).error("failed", error)
    (line,) = lines(reader)
    assert "ValueError: 12" in line["traceback"]
    assert "hushhush" not in line["traceback"]


@given(st.text(max_size=40), st.dictionaries(st.sampled_from("abc"), st.text() | st.binary() | st.integers(0, 9)))
def test_whatever_is_said_is_one_line_of_json(event: str, fields: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    try:
        Log("cpu-0#1", LogSettings(), writer).info(event, **fields)
        assert len(lines(reader)) == 1
    finally:
        os.close(reader)
        os.close(writer)


def test_a_long_text_is_cut_to_its_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = Log("cpu-0#1", LogSettings(), writer)
    log.info("long", traceback="x" * 100_000 + "the end", count=3)
    log.info("y" * 100_000)
    data = os.read(reader, 1 << 20)
    assert all(len(line) <= MAX_LINE for line in data.splitlines())
    first, second = map(json.loads, data.splitlines())
    assert first["traceback"].endswith("the end")
    assert first["cut"] is second["cut"] is True


def test_a_full_pipe_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = Log("cpu-0#1", LogSettings(), writer)
    for n in range(200):
        log.info("said", number=n, padding="p" * 50)
    lost = log.lost
    assert lost > 0
    os.set_blocking(reader, False)
    data = b""
    while True:
        try:
            data += os.read(reader, 65_536)
        except BlockingIOError:
            if log.lost == 0:
                break
            log.info("after")
    said = [json.loads(line) for line in data.splitlines()]
    (confessed,) = [line for line in said if line["event"] == "log_lines_lost"]
    assert confessed["count"] == lost
    assert len([line for line in said if line["event"] == "said"]) == 200 - lost
    assert os.get_blocking(writer)


def test_nobody_reading_is_no_error() -> None:
    reader, writer = os.pipe()
    log = Log("cpu-0#1", LogSettings(), writer)
    os.close(reader)
    log.info("fine")
    assert log.lost == 1
    os.close(writer)


def test_it_writes_to_a_file_as_well(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        Log("cpu-0#1", LogSettings(), file.fileno()).info("fine")
    assert json.loads((tmp_path / "log").read_bytes())["event"] == "fine"


class _Mute:
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("value", ["half a \ud800 character", {"in": "\ud800"}, _Mute()])
def test_nothing_that_is_to_be_logged_makes_the_writer_fail(value: object, pipe: tuple[int, int]) -> None:
    """A node may raise any text: its worker must survive writing that down."""
    reading, writing = pipe
    Log("cpu-0#1", LogSettings(), writing).error("node_failed", ValueError("\ud800"), value=value, count=3)
    line = json.loads(os.read(reading, 65_536))
    assert line["event"] == "node_failed"
    assert line["count"] == 3
    assert line["time"].endswith("Z")
    assert "value" in line


class Odd(Exception):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


def test_an_error_of_which_no_traceback_can_be_made_is_named(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    Log("cpu-0#7", LogSettings(), writing).error("failed", Odd())
    assert "Odd" in json.loads(os.read(reading, 1 << 16))["traceback"]
