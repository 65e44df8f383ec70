"""Reading logs: merged by time, across rotation, raw for programs, and harmless for terminals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cli.logs
from cli.lines import clock, inert, moment, pretty
from cli.logs import _past, logs
from cli.tail import BLOCK, Tail
from cli.wanted import LEVELS, Wanted, level_of, since
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
    assert logs(folder.parent, Wanted(), lines=100, as_json=True) == 0
    assert capsys.readouterr().out.splitlines() == [web[0], cpu[0], cpu[1], web[1], web[2], cpu[2]]


def test_iso_times_are_times_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = json.dumps({"time": "2026-03-01T12:00:00.5Z", "event": "late"})
    early = json.dumps({"time": "2026-03-01T12:59:59+01:00", "event": "early"})
    write(folder / "a.log", late)
    write(folder / "b.log", early)
    logs(folder.parent, Wanted(), lines=100, as_json=True)
    assert capsys.readouterr().out.splitlines() == [early, late]


def test_a_line_that_is_no_json_stays_where_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, after = line(1, "web-0#1"), line(2, "cpu-0#2")
    write(folder / "web.log", first, "Segmentation fault", "{not json")
    write(folder / "cpu.log", after)
    logs(folder.parent, Wanted(), lines=100, as_json=True)
    assert capsys.readouterr().out.splitlines() == [first, "Segmentation fault", "{not json", after]


def test_the_last_lines_of_all_and_of_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "web.log.1", *[line(n, "web-0#1") for n in range(5)])
    write(folder / "web.log", *[line(n, "web-0#1") for n in range(5, 8)])
    write(folder / "cpu.log", line(6.5, "cpu-0#2"))
    logs(folder.parent, Wanted(), lines=3, as_json=True)
    assert [json_object(raw)["time"] for raw in capsys.readouterr().out.splitlines()] == [6, 6.5, 7]
    logs(folder.parent, Wanted("web"), lines=5, as_json=True)
    assert [json_object(raw)["time"] for raw in capsys.readouterr().out.splitlines()] == [3, 4, 5, 6, 7]
    logs(folder.parent, Wanted("web"), lines=0, as_json=True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("asked", "said"), [("cpu_snyc", "did you mean 'cpu_sync'?"), ("x", "cpu_sync, web")])
def test_a_group_without_logs_is_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], asked: str, said: str
) -> None:
    write(folder / "cpu_sync.log", line(1, "cpu_sync-0#1"))
    write(folder / "web.log", line(1, "web-0#1"))
    assert logs(folder.parent, Wanted(asked), lines=1, as_json=True) == 2
    assert said in capsys.readouterr().err


def test_a_group_that_runs_and_was_silent_is_no_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Status(SupervisorStatus(1, "0", 0.0, ""), (GroupStatus("cpu_sync", "up", ()),))
    monkeypatch.setattr(cli.logs, "ask", lambda *_: runs)
    assert logs(folder.parent, Wanted("cpu_sync"), lines=1, as_json=True) == 0
    assert logs(folder.parent, Wanted("cpu_snyc"), lines=1, as_json=True) == 2
    assert capsys.readouterr().out == ""


def test_no_logs_at_all_is_not_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs(tmp_path, Wanted()) == 3
    assert str(tmp_path) in capsys.readouterr().err


_written = st.lists(st.text("ab\n", max_size=9))


@settings(deadline=None)
@given(_written, st.lists(st.booleans()), st.lists(st.booleans()), st.integers(0, 20))
def test_no_line_is_shown_twice_or_left_out(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], rotate: list[bool], look: list[bool], count: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    path = folder / "web.log"
    (folder / "web.log.1").write_text("older\n" * 2)
    path.write_text("old\n" * 7 + "begun and ")
    tail = Tail(path)
    assert tail.last(count) == (["older"] * 2 + ["old"] * 7)[max(0, 9 - count) :]
    seen = []
    for index, text in enumerate(written):
        with path.open("a") as file:
            file.write(text)
        if rotate[index : index + 1] == [True] and text.endswith("\n"):
            for age in range(len(list(folder.iterdir())) - 1, 0, -1):
                (folder / f"web.log.{age}").rename(folder / f"web.log.{age + 1}")
            path.rename(folder / "web.log.1")
            path.touch()
        if look[index : index + 1] != [False]:
            seen += tail.more()
    seen += tail.more()
    tail.close()
    whole = "begun and " + "".join(written)
    assert seen == whole.split("\n")[:-1]


def test_what_was_taken_away_and_made_again_is_followed(folder: Path) -> None:
    path = folder / "web.log"
    write(path, "one")
    tail = Tail(path)
    assert tail.last(9) == ["one"]
    path.unlink()
    folder.rmdir()
    assert tail.more() == []
    folder.mkdir()
    write(path, "two")
    assert tail.more() == ["two"]
    tail.close()


def test_an_older_file_is_not_shown_again_when_the_current_one_is_deleted(folder: Path) -> None:
    write(folder / "web.log.1", "one")
    write(folder / "web.log", "two")
    tail = Tail(folder / "web.log")
    assert tail.last(9) == ["one", "two"]
    (folder / "web.log").unlink()
    write(folder / "web.log", "three")
    assert tail.more() == ["three"]
    tail.close()


def test_long_files_are_read_from_their_end(folder: Path) -> None:
    long = ["x" * (BLOCK // 3), "y" * (2 * BLOCK), "z"]
    write(folder / "web.log", *["w" * 1000] * 100, *long)
    tail = Tail(folder / "web.log")
    assert tail.last(3) == long
    tail.close()


def test_who_wants_no_line_of_before_gets_those_that_come(folder: Path) -> None:
    write(folder / "web.log", "old", "older")
    tail = Tail(folder / "web.log")
    assert list(islice(_past(tail.past(), Wanted()), 0)) == []
    write(folder / "web.log", "new")
    assert tail.more() == ["new"]
    tail.close()


def test_follow_goes_on_with_new_lines_new_files_and_new_groups(folder: Path) -> None:
    write(folder / "web.log", line(1, "web-0#1"))
    command = [sys.executable, "-m", "shunter", "logs", "-f", "--json", "--state-dir", str(folder.parent)]
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


def run(folder: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "shunter", "logs", "--state-dir", str(folder.parent), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else [str(done.returncode), done.stderr]


def test_what_is_wanted_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    one = line(now - 7200, "web-0#1", "asked", request_id="r-1")
    two = line(now - 10, "cpu-0#2", "began", request_id="r-1", level="debug")
    three = line(now - 9, "cpu-1#3", "ran", request_ids=["r-0", "r-1"], level="error")
    four = json.dumps({"time": now - 8, "text": 'a "quote" \N{SNOWMAN}', "worker": "cpu-0#2", "stream": "stdout"})
    five = json.dumps({"time": now - 7, "text": "warns", "worker": "cpu-0#4", "stream": "stderr"})
    died = json.dumps(
        {"time": now - 6, "level": "error", "group": "cpu", "worker": "cpu-0#4", "event": "worker_exited"}
    )
    write(folder / "web.log", one)
    write(folder / "cpu.log", two, three, four, five)
    write(folder / "supervisor.log", died)
    now += 1
    for wanted, expected in (
        (Wanted(), [one, two, three, four, five, died]),
        (Wanted(group="cpu"), [two, three, four, five, died]),
        (Wanted(group="web"), [one]),
        (Wanted(group="supervisor"), [died]),
        (Wanted(worker="cpu-0"), [two, four, five, died]),
        (Wanted(worker="cpu-0#2"), [two, four]),
        (Wanted(level="info"), [one, three, four, five, died]),
        (Wanted(level="warning"), [three, five, died]),
        (Wanted(text='a "quote" \N{SNOWMAN}'), [four]),
        (Wanted(text="(a+)+$"), []),
        (Wanted(request="r-1"), [one, two, three]),
        (Wanted(request="r-"), []),
        (Wanted(since=now - 600), [two, three, four, five, died]),
        (Wanted(since=now - 600, level="error", group="cpu"), [three, died]),
    ):
        assert logs(folder.parent, wanted, lines=None, as_json=True) == 0
        assert capsys.readouterr().out.splitlines() == expected, wanted
        logs(folder.parent, wanted, lines=1, as_json=True)
        assert capsys.readouterr().out.splitlines() == expected[-1:], wanted


def test_a_line_that_comes_a_little_late_hides_none_before_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, late, last = (line(1000 + at, "cpu-0#1") for at in (0, -4, 1))
    write(folder / "cpu.log", first, late, last)
    assert logs(folder.parent, Wanted(since=998.0), lines=None, as_json=True) == 0
    assert capsys.readouterr().out.splitlines() == [first, last]


def test_the_options_say_what_is_wanted(folder: Path) -> None:
    found = [line(time.time() - 3600, "cpu-0#1", "old"), *(line(time.time(), "cpu-0#1", f"{n}") for n in range(150))]
    asked = line(time.time(), "cpu-1#1", "it", request_id="r-1", level="error")
    write(folder / "cpu.log", *found, asked)
    assert run(folder, "--json") == [*found[-99:], asked]
    assert run(folder, "--json", "--since", "10m", "--worker", "cpu-0") == found[1:]
    assert run(folder, "--json", "--request", "r-1", "--grep", "it", "--level", "error", "--group", "cpu") == [asked]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--level", "warn"], "did you mean 'warning'?"),
        (["--group", "cpuu"], "did you mean 'cpu'?"),
        (["--worker", "cpuu-1"], "did you mean 'cpu'?"),
        (["cpu", "--group", "web"], "only one group"),
        (["--since", "yesterday"], "write 90s, 10m"),
    ],
)
def test_what_nobody_can_want_is_wrong_usage(folder: Path, wrong: list[str], said: str) -> None:
    write(folder / "cpu.log", line(1, "cpu-0#1"))
    write(folder / "web.log", line(1, "web-0#1"))
    code, complaint = run(folder, *wrong)
    assert code == "2"
    assert said in complaint
    assert complaint.count("\n") == 1


def test_without_a_terminal_lines_are_readable_and_have_no_colour(folder: Path) -> None:
    write(folder / "cpu.log", line(1, "cpu-0#1", "ran", node="shop.f"))
    (shown,) = run(folder)
    assert shown.split()[-4:] == ["info", "cpu-0#1", "ran", "node=shop.f"]
    assert "\x1b" not in shown


def test_a_text_of_several_lines_stays_together(folder: Path) -> None:
    block = "Traceback (most recent call last):\n  File x\nValueError: x"
    write(folder / "cpu.log", json.dumps({"time": 1, "text": block, "worker": "cpu-0#1", "stream": "stderr"}))
    first, *below = run(folder, "-n", "1")
    assert first.endswith("Traceback (most recent call last):")
    assert [each.strip() for each in below] == ["File x", "ValueError: x"]


def test_a_reader_who_has_seen_enough_is_no_fault(folder: Path) -> None:
    write(folder / "cpu.log", *[line(n, "cpu-0#1") for n in range(20_000)])
    command = [sys.executable, "-m", "shunter", "logs", "-n", "20000", "-f", "--state-dir", str(folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.readline()
        shown.stdout.close()
        assert shown.stderr.read() == ""
        assert shown.wait(30) == 0


def test_who_has_followed_for_long_enough_leaves_with_ctrl_c(folder: Path) -> None:
    write(folder / "cpu.log", line(1, "cpu-0#1"))
    command = [sys.executable, "-m", "shunter", "logs", "-f", "--state-dir", str(folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        shown.stdout.readline()
        shown.send_signal(signal.SIGINT)
        assert shown.stderr.read() == ""
        assert shown.wait(30) == 0


def test_who_follows_a_silent_log_notices_that_nobody_reads(folder: Path) -> None:
    write(folder / "cpu.log", line(1, "cpu-0#1"))
    command = [sys.executable, "-m", "shunter", "logs", "-f", "--state-dir", str(folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as shown:
        assert shown.stdout is not None
        shown.stdout.readline()
        shown.stdout.close()
        assert shown.wait(30) == 0


def test_whoever_does_not_say_how_bad_it_is_is_judged_by_where_it_wrote() -> None:
    for level in LEVELS:
        assert level_of({"level": level, "stream": "stderr"}) == level
    assert level_of({"stream": "stdout"}) == "info"
    assert level_of({"stream": "stderr"}) == "warning"
    assert level_of({"stream": "stderr", "text": "Traceback (most recent call last):\n  x"}) == "error"
    assert level_of({"level": "CRITICAL"}) == "error"
    assert level_of({"level": ["nonsense"]}) == "info"


def test_since_is_so_long_ago_or_a_moment() -> None:
    assert since("90s", 1000.0) == 910.0
    assert since("1.5m", 1000.0) == 910.0
    assert since("1970-01-01T00:10:00Z", 0.0) == 600.0
    for nonsense in ("", "10", "m", "-1m", "1e9d", "yesterday", "9" * 99 + "d", "0001-01-01"):
        assert since(nonsense, 0.0) is None


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


@pytest.mark.parametrize(("request_id", "again"), [("5f" * 16, False), ("the-client-s-own", True), ("", True)])
def test_a_trace_that_says_the_request_id_again_is_not_shown(request_id: str, again: bool) -> None:
    trace = f"00-{'5f' * 16}-{'5f' * 8}-00"
    raw = json.dumps({"event": "slow", "request_id": request_id, "trace": trace})
    assert (f"trace={trace}" in pretty(raw).plain) == again


@given(st.text())
def test_a_terminal_obeys_nothing_that_was_logged(text: str) -> None:
    told = {"event": text, "x": text, "level": text, "worker": text, f"x{text}": 1, "traceback": text}
    for raw in (text, json.dumps(told), json.dumps({"stream": text, "group": text})):
        assert pretty(raw).plain.translate({9: "", 10: ""}).isprintable()


def test_a_level_is_one_short_word() -> None:
    shown = pretty(json.dumps({"level": "info cpu-0#1 forged", "event": "x"})).plain
    assert shown.split() == ["info", "x"]
    assert len(pretty(json.dumps({"level": "x" * 9999, "event": "y"})).plain) < 100


@given(st.text())
def test_json_that_was_made_inert_says_the_same_and_moves_no_cursor(text: str) -> None:
    raw = json.dumps({text: text}, ensure_ascii=False)
    assert json.loads(inert(raw)) == {text: text}
    assert inert(raw).isprintable()


def test_json_for_a_terminal_is_inert_and_for_a_pipe_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = json.dumps({"time": 1, "event": "\x9b2J"}, ensure_ascii=False)
    write(folder / "web.log", raw)
    assert logs(folder.parent, Wanted(), as_json=True) == 0
    assert capsys.readouterr().out == f"{raw}\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert logs(folder.parent, Wanted(), as_json=True) == 0
    assert capsys.readouterr().out == '{"time": 1, "event": "\\u009b2J"}\n'


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        "[]",
        "{}",
        '{"time": true}',
        '{"time": "noon"}',
        '{"time": null}',
        '{"time": 1e99}',
        '{"time": -1e99}',
        '{"time": 1' + "0" * 400 + "}",
        '{"time": "0001-01-01T00:00:00+14:00"}',
        '{"time": "9999-12-31T23:59:59-14:00"}',
        "",
    ],
)
def test_nonsense_has_no_time(nonsense: str) -> None:
    assert moment(json_object(nonsense) or {}) is None
    assert pretty(nonsense) is not None


def test_another_day_is_told() -> None:
    assert len(clock(time.time())) == len("12:00:00.000")
    assert clock(250e9).startswith("9892-")
    assert clock(0).startswith("1970-01-0") or clock(0).startswith("1969-12-31")


def test_fields_of_several_lines_stand_below() -> None:
    said = {"event": "x", "reason": "shop.yaml:3: error: no\n  hint: yes", "last_words": ['{"a": 1}', "two"], "n": 1}
    first, *below = pretty(json.dumps(said)).plain.splitlines()
    assert first.endswith("x reason=shop.yaml:3: error: no n=1")
    assert below == ["      hint: yes", '    {"a": 1}', "    two"]
