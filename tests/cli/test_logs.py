"""Reading logs: merged by time, across rotation, raw for programs, and harmless for terminals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli.logs
from cli.lines import clock, moment, pretty
from cli.logs import logs
from cli.tail import BLOCK, Tail
from ipc.decoding.jsontext import json_object
from ipc.messages.control import GroupStatus, Status, SupervisorStatus

if TYPE_CHECKING:
    from pathlib import Path


def line(second: float, worker: str, event: str = "listening", **more: object) -> str:
    return json.dumps({"time": second, "level": "info", "worker": worker, "event": event, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(f"{text}\n" for text in lines))


def test_groups_are_merged_by_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web = [line(n, "web-0#1") for n in (1, 4, 5)]
    cpu = [line(n, "cpu-0#2") for n in (2, 3, 6)]
    write(folder / "web.log", *web)
    write(folder / "cpu.log", *cpu)
    assert logs(folder.parent, "", lines=100, follow=False) == 0
    assert capsys.readouterr().out.splitlines() == [web[0], cpu[0], cpu[1], web[1], web[2], cpu[2]]


def test_iso_times_are_times_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = json.dumps({"time": "2026-03-01T12:00:00.5Z", "event": "late"})
    early = json.dumps({"time": "2026-03-01T12:59:59+01:00", "event": "early"})
    write(folder / "a.log", late)
    write(folder / "b.log", early)
    logs(folder.parent, "", lines=100, follow=False)
    assert capsys.readouterr().out.splitlines() == [early, late]


def test_a_line_that_is_no_json_stays_where_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, after = line(1, "web-0#1"), line(2, "cpu-0#2")
    write(folder / "web.log", first, "Segmentation fault", "{not json")
    write(folder / "cpu.log", after)
    logs(folder.parent, "", lines=100, follow=False)
    assert capsys.readouterr().out.splitlines() == [first, "Segmentation fault", "{not json", after]


def test_the_last_lines_of_all_and_of_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "web.log.1", *[line(n, "web-0#1") for n in range(5)])
    write(folder / "web.log", *[line(n, "web-0#1") for n in range(5, 8)])
    write(folder / "cpu.log", line(6.5, "cpu-0#2"))
    logs(folder.parent, "", lines=3, follow=False)
    assert [json_object(raw)["time"] for raw in capsys.readouterr().out.splitlines()] == [6, 6.5, 7]
    logs(folder.parent, "web", lines=5, follow=False)
    assert [json_object(raw)["time"] for raw in capsys.readouterr().out.splitlines()] == [3, 4, 5, 6, 7]
    logs(folder.parent, "web", lines=0, follow=False)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("asked", "said"), [("cpu_snyc", "did you mean 'cpu_sync'?"), ("x", "cpu_sync, web")])
def test_a_group_without_logs_is_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], asked: str, said: str
) -> None:
    write(folder / "cpu_sync.log", line(1, "cpu_sync-0#1"))
    write(folder / "web.log", line(1, "web-0#1"))
    assert logs(folder.parent, asked, lines=1, follow=False) == 2
    assert said in capsys.readouterr().err


def test_a_group_that_runs_and_was_silent_is_no_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Status(SupervisorStatus(1, "0", 0.0, ""), (GroupStatus("cpu_sync", "up", ()),))
    monkeypatch.setattr(cli.logs, "ask", lambda *_: runs)
    assert logs(folder.parent, "cpu_sync", lines=1, follow=False) == 0
    assert logs(folder.parent, "cpu_snyc", lines=1, follow=False) == 2
    assert capsys.readouterr().out == ""


def test_no_logs_at_all_is_not_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs(tmp_path, "", lines=1, follow=False) == 3
    assert str(tmp_path) in capsys.readouterr().err


@given(st.lists(st.text("ab\n", max_size=9)), st.lists(st.booleans()), st.integers(0, 20))
def test_no_line_is_shown_twice_or_left_out(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], rotate: list[bool], count: int
) -> None:
    path = tmp_path_factory.mktemp("logs") / "web.log"
    path.write_text("old\n" * 7 + "begun and ")
    tail = Tail(path)
    assert tail.last(count) == ["old"] * min(count, 7)
    seen = []
    for index, text in enumerate(written):
        with path.open("a") as file:
            file.write(text)
        if index < len(rotate) and rotate[index] and text.endswith("\n"):
            path.rename(path.with_name("web.log.1"))
            path.touch()
        seen += tail.more()
    tail.close()
    whole = "begun and " + "".join(written)
    assert seen == whole.split("\n")[:-1]


def test_long_files_are_read_from_their_end(folder: Path) -> None:
    long = ["x" * (BLOCK // 3), "y" * (2 * BLOCK), "z"]
    write(folder / "web.log", *["w" * 1000] * 100, *long)
    tail = Tail(folder / "web.log")
    assert tail.last(3) == long
    tail.close()


def test_follow_goes_on_with_new_lines_new_files_and_new_groups(folder: Path) -> None:
    write(folder / "web.log", line(1, "web-0#1"))
    command = [sys.executable, "-m", "shunter", "logs", "-f", "--state-dir", str(folder.parent)]
    # Who runs the tests in the background of a shell has SIGINT ignored, and so have all that are started from there.
    told = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=told) as follower:  # noqa: PLW1509 - it calls no Python of ours
        assert follower.stdout is not None
        assert json_object(follower.stdout.readline().strip())["time"] == 1
        write(folder / "web.log", line(2, "web-0#1"))
        (folder / "web.log").rename(folder / "web.log.1")
        write(folder / "web.log", line(3, "web-0#1"))
        assert [json_object(follower.stdout.readline().strip())["time"] for _ in range(2)] == [2, 3]
        write(folder / "cpu.log", line(4, "cpu-0#2"))
        assert json_object(follower.stdout.readline().strip())["worker"] == "cpu-0#2"
        time.sleep(0.05)
        follower.send_signal(2)
        assert follower.wait(10) == 0


def test_people_see_when_who_what_and_the_rest() -> None:
    raw = json.dumps(
        {
            "time": time.time(),
            "level": "error",
            "worker": "cpu-0#2",
            "event": "node_failed",
            "node": "shop.f",
            "ms": 12,
            "empty": "",
            "traceback": "Traceback:\n  line\nValueError: x\n",
        }
    )
    first, *below = pretty(raw).plain.splitlines()
    assert first.split()[1:] == ["error", "cpu-0#2", "node_failed", "node=shop.f", "ms=12"]
    assert below == ["    Traceback:", "      line", "    ValueError: x"]


@given(st.text())
def test_a_terminal_obeys_nothing_that_was_logged(text: str) -> None:
    for raw in (text, json.dumps({"event": text, "x": text, "worker": "w-0", "traceback": "t"})):
        assert pretty(raw).plain.translate({9: "", 10: ""}).isprintable()


@pytest.mark.parametrize("nonsense", ["{", "[]", "{}", '{"time": true}', '{"time": "noon"}', '{"time": null}', ""])
def test_nonsense_has_no_time(nonsense: str) -> None:
    assert moment(json_object(nonsense) or {}) is None
    assert pretty(nonsense) is not None


def test_another_day_is_told() -> None:
    assert len(clock(time.time())) == len("12:00:00.000")
    assert clock(0).startswith("1970-01-0") or clock(0).startswith("1969-12-31")
