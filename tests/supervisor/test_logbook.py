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
from supervisor.logbook import Logbook, entry

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(st.text())
def test_any_line_becomes_one_line_of_json(text: str) -> None:
    line = entry("cpu-0#1", "stdout", text, NOW)
    assert line.count(b"\n") == 1
    assert json.loads(line)["text"] == text


def test_an_event_keeps_its_fields_but_not_its_word_on_who_wrote_it() -> None:
    said = json.dumps({"time": "t", "level": "info", "worker": "web-0#1", "event": "started", "port": 80})
    assert json.loads(entry("cpu-0#1", "stderr", said, NOW)) == {
        "time": "t",
        "level": "info",
        "event": "started",
        "port": 80,
        "worker": "cpu-0#1",
        "stream": "stderr",
    }


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
    assert json.loads(entry("cpu-0#1", "stderr", text, NOW))["text"] == text


def test_each_group_has_its_file(tmp_path: Path) -> None:
    book = Logbook(tmp_path / "logs", list[Event]().append)
    book.hear(LineWritten("cpu-0#1", "stdout", "one"))
    book.hear(LineWritten("web-3#9", "stderr", "two"))
    book.hear(LineWritten("cpu-1#1", "stdout", "three"))
    book.close()
    assert [line["text"] for line in kept(tmp_path / "logs" / "cpu.log")] == ["one", "three"]
    assert kept(tmp_path / "logs" / "web.log")[0]["worker"] == "web-3#9"
    assert (tmp_path / "logs" / "cpu.log").stat().st_mode & 0o077 == 0


def test_two_files_of_bounded_size_remain(tmp_path: Path) -> None:
    book = Logbook(tmp_path, list[Event]().append, max_file=2_000)
    for n in range(200):
        book.write("cpu-0#1", "stdout", f"line {n}")
    book.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.log", "cpu.log.1"]
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 2_000
    texts = [line["text"] for name in ("cpu.log.1", "cpu.log") for line in kept(tmp_path / name)]
    assert texts == [f"line {n}" for n in range(200 - len(texts), 200)]


@pytest.mark.parametrize("short", [False, True], ids=["refused", "cut"])
def test_a_full_disk_costs_lines_that_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    told: list[Event] = []
    book = Logbook(tmp_path, told.append)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    book.write("cpu-0#1", "stdout", "before")
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if short:
            return write(fd, data[:5])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        book.write("cpu-0#1", "stdout", "lost")
    clock[0] += 5.0
    book.write("cpu-0#1", "stdout", "lost")
    monkeypatch.setattr(os, "write", write)
    clock[0] += 5.0
    book.write("cpu-0#1", "stdout", "after")
    book.close()
    assert [type(event) for event in told] == [LinesLost]
    assert "No space left" in str(told[0])
    before, confession, after = kept(tmp_path / "cpu.log")
    assert (before["text"], after["text"]) == ("before", "after")
    assert (confession["event"], confession["count"]) == ("lines_lost", 4)


def test_a_place_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    told: list[Event] = []
    book = Logbook(tmp_path / "logs", told.append)
    for _ in range(10):
        book.write("cpu-0#1", "stdout", "lost")
    assert len(told) == 1


def test_what_happens_to_the_service_has_a_file_of_its_own(tmp_path: Path) -> None:
    book = Logbook(tmp_path, list[Event]().append)
    book.hear(WorkerExited("cpu-0#1", "killed by SIGKILL", expected=False))
    book.hear(LineWritten("cpu-0#1", "stdout", "a line"))
    book.hear(GroupUp("cpu", 0.25))
    book.close()
    exited, up = kept(tmp_path / "supervisor.log")
    assert exited.pop("time")
    assert exited == {
        "level": "error", "group": "cpu", "worker": "cpu-0#1", "event": "worker_exited",
        "reason": "killed by SIGKILL", "expected": False,
    }  # fmt: skip
    assert (up["event"], up["group"], up["seconds"]) == ("group_up", "cpu", 0.25)
