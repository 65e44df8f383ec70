"""What workers wrote, kept within bounds, whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.events import Event, GroupUp, LinesLost, LineWritten, WorkerExited
from supervisor.logbook import GLANCE, Logbook, entry

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def open_book(path: Path, told: list[Event] | None = None, max_bytes: int = 100_000, files: int = 2) -> Logbook:
    return Logbook(path, ([] if told is None else told).append, max_bytes, files)


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(st.text())
def test_any_line_becomes_one_line_of_json(text: str) -> None:
    line = entry(LineWritten("cpu-0#1", "stdout", text), NOW)
    assert line.count(b"\n") == 1
    assert json.loads(line)["text"] == text


def test_an_event_keeps_its_fields_but_not_its_word_on_who_wrote_it() -> None:
    said = json.dumps(
        {"time": "2026-01-02T00:00:01Z", "level": "info", "worker": "web-0#1", "event": "started", "port": 80}
    )
    assert json.loads(entry(LineWritten("cpu-0#1", "stderr", said), NOW)) == {
        "time": "2026-01-02T00:00:01Z",
        "level": "info",
        "event": "started",
        "port": 80,
        "group": "cpu",
        "worker": "cpu-0#1",
        "stream": "stderr",
    }


@pytest.mark.parametrize(
    "time",
    [12.5, 1e99, True, None, [], "t", "2026-01-02T00:00:06Z", "2026-01-01T23:59:54Z", "2026-01-02T00:00:00", "9" * 99],
)
def test_what_is_not_the_time_is_kept_but_is_not_believed(time: object) -> None:
    kept = json.loads(entry(LineWritten("cpu-0#1", "stderr", json.dumps({"event": "x", "time": time})), NOW))
    assert kept["time"] == "2026-01-02T00:00:00Z"
    assert kept["own_time"] == time


@pytest.mark.parametrize(
    "text",
    [
        '{"no": "event"}',
        "{broken",
        "{}",
        '["event"]',
        '{"event": ' + "[" * 30_000,
        '{"event": ' + "[" * 70 + "]" * 70 + "}",
        '{"event": 1, "event": 2}',
    ],
)
def test_what_only_looks_like_an_event_is_text(text: str) -> None:
    assert json.loads(entry(LineWritten("cpu-0#1", "stderr", text), NOW))["text"] == text


def test_each_group_has_its_file(tmp_path: Path) -> None:
    book = open_book(tmp_path / "logs")
    book.hear(LineWritten("cpu-0#1", "stdout", "one"), NOW)
    book.hear(LineWritten("web-3#9", "stderr", "two"), NOW)
    book.hear(LineWritten("cpu-1#1", "stdout", "three"), NOW)
    book.close()
    assert [line["text"] for line in kept(tmp_path / "logs" / "cpu.log")] == ["one", "three"]
    assert kept(tmp_path / "logs" / "web.log")[0]["worker"] == "web-3#9"
    assert (tmp_path / "logs" / "cpu.log").stat().st_mode & 0o077 == 0


def test_two_files_of_bounded_size_remain(tmp_path: Path) -> None:
    book = open_book(tmp_path, max_bytes=2_000)
    for n in range(200):
        book.hear(LineWritten("cpu-0#1", "stdout", f"line {n}"), NOW)
    book.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.log", "cpu.log.1"]
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 2_000
    texts = [line["text"] for name in ("cpu.log.1", "cpu.log") for line in kept(tmp_path / name)]
    assert texts == [f"line {n}" for n in range(200 - len(texts), 200)]


@pytest.mark.parametrize("short", [False, True], ids=["refused", "cut"])
def test_a_full_disk_costs_lines_that_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    told: list[Event] = []
    book = open_book(tmp_path, told)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    book.hear(LineWritten("cpu-0#1", "stdout", "before"), NOW)
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if short:
            return write(fd, data[:5])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        book.hear(LineWritten("cpu-0#1", "stdout", "lost"), NOW)
    clock[0] += 5.0
    book.hear(LineWritten("cpu-0#1", "stdout", "lost"), NOW)
    monkeypatch.setattr(os, "write", write)
    clock[0] += 5.0
    book.hear(LineWritten("cpu-0#1", "stdout", "after"), NOW)
    book.close()
    assert [type(event) for event in told] == [LinesLost]
    assert "No space left" in str(told[0])
    before, confession, after = kept(tmp_path / "cpu.log")
    assert (before["text"], after["text"]) == ("before", "after")
    assert (confession["event"], confession["count"]) == ("lines_lost", 4)


def test_a_place_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    told: list[Event] = []
    book = open_book(tmp_path / "logs", told)
    for _ in range(10):
        book.hear(LineWritten("cpu-0#1", "stdout", "lost"), NOW)
    assert len(told) == 1


def test_what_happens_to_the_service_has_a_file_of_its_own(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    book.hear(WorkerExited("cpu-0#1", "killed by SIGKILL", expected=False), NOW)
    book.hear(LineWritten("cpu-0#1", "stdout", "a line"), NOW)
    book.hear(GroupUp("cpu", 0.25), NOW)
    book.close()
    exited, up = kept(tmp_path / "supervisor.log")
    assert exited.pop("time")
    assert exited == {
        "level": "error", "group": "cpu", "worker": "cpu-0#1", "event": "worker_exited",
        "reason": "killed by SIGKILL", "expected": False,
    }  # fmt: skip
    assert (up["event"], up["group"], up["seconds"]) == ("group_up", "cpu", 0.25)


def test_as_many_files_remain_as_are_wanted(tmp_path: Path) -> None:
    book = open_book(tmp_path, max_bytes=1_000, files=4)
    for n in range(100):
        book.hear(LineWritten("cpu-0#1", "stdout", f"line {n}"), NOW)
    book.close()
    names = ["cpu.log.3", "cpu.log.2", "cpu.log.1", "cpu.log"]
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    texts = [line["text"] for name in names for line in kept(tmp_path / name)]
    assert texts == [f"line {n}" for n in range(100 - len(texts), 100)]


def test_a_line_says_for_which_requests_it_was_printed(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    for requests in ((), ("r-1",), ("r-1", "r-2")):
        book.hear(LineWritten("cpu-0#1", "stdout", "x", requests), NOW)
    book.close()
    none, one, two = kept(tmp_path / "cpu.log")
    assert "request_id" not in none
    assert one["request_id"] == "r-1"
    assert two["request_ids"] == ["r-1", "r-2"]


@pytest.mark.parametrize("moved", [False, True], ids=["deleted", "moved"])
def test_a_directory_that_is_taken_away_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    told: list[Event] = []
    book = open_book(tmp_path / "logs", told)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    book.hear(LineWritten("cpu-0#1", "stdout", "before"), NOW)
    if moved:
        (tmp_path / "logs").rename(tmp_path / "old")
    else:
        (tmp_path / "logs" / "cpu.log").unlink()
        (tmp_path / "logs").rmdir()
    clock[0] += 2 * GLANCE
    book.hear(LineWritten("cpu-0#1", "stdout", "after"), NOW)
    book.close()
    assert [line["text"] for line in kept(tmp_path / "logs" / "cpu.log")] == ["after"]
    assert not told
