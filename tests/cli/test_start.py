"""What is shown while a service starts and runs: to people, to programs, and to who waits for it to be ready."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from rich.console import Console

import cli.detach
import cli.show
from cli.detach import detached
from cli.show import JsonLines, Terminal
from supervisor import events
from supervisor.chronicle import from_json, level, to_json
from supervisor.outlet import WAITING_CHARACTERS, Outlet

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIED = events.WorkerExited("cpu_sync-0#1", "killed: SIGKILL", expected=False, last_words=("one", "two"))
BROKE = events.WorkerExited("web-0#1", "cannot import shop", expected=False, traceback="Traceback:\n  shop\n")
LINE = json.dumps({"time": "2026-03-01T12:00:00Z", "level": "info", "worker": "web-0#1", "event": "started"})
HAPPENED = [
    events.GroupStarting("web", 2),
    events.WorkerSpawned("web-0#1", 42),
    events.WorkerExposed("web-0#1", ("no_new_privs",)),
    events.WorkerReady("web-0#1", 0.41),
    events.WorkerRecycled("web-0#1", "1,000 requests, max_requests is 1,000"),
    events.WorkerDraining("web-0#1"),
    DIED,
    BROKE,
    events.WorkerExited("web-0#1", "left as told", expected=True),
    events.WorkerRestarting("web-0#1", 0.1),
    events.WorkerFailed("web-0#1", "5 crashes in a row"),
    events.GroupUp("web", 0.5),
    events.GroupFailed("web", "nobody is left"),
    events.GroupScaled("cpu_sync", 1, 4, "calls wait 120 ms"),
    events.Serving("127.0.0.1", 8000, 1.5),
    events.Reloading(),
    events.WillChange("web: same"),
    events.Reloaded(0.25),
    events.NotReloaded("shunter.yaml:3:1: error: no"),
    events.KeysRotated(2, 0.25),
    events.Draining(forced=False),
    events.Draining(forced=True),
    events.Stopped(),
    events.LineWritten("web-0#1", "stdout", "hello"),
    events.LinesLost("web", "no space left"),
    events.Trouble("a bug"),
]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a terminal of some width shows of events."""

    def show(*happened: events.Event, attached: bool = True) -> str:
        console = Console(width=100, highlight=False, markup=False)
        monkeypatch.setattr(cli.show, "out", console)
        terminal = Terminal(attached=attached)
        with console.capture() as captured:
            for event in happened:
                terminal(event, datetime.now(UTC))
        return captured.get()

    return show


def test_the_list_above_is_complete() -> None:
    assert {type(event) for event in HAPPENED} == set(get_args(events.Event))


@pytest.mark.parametrize("event", HAPPENED, ids=lambda event: type(event).__name__)
def test_every_event_is_a_json_line_and_comes_back(event: events.Event) -> None:
    line = to_json(event, NOON)
    assert "\n" not in line
    said = json.loads(line)
    assert said["time"] == "2026-03-01T12:00:00Z"
    assert said["level"] == level(event)
    assert said["event"].islower()
    assert from_json(line) == event


@pytest.mark.parametrize("line", [LINE, "Traceback:", "{}", '{"event": "worker_ready"}', '{"event": 1}', "[]", ""])
def test_other_lines_are_no_events(line: str) -> None:
    assert from_json(line) is None


def test_names_are_words() -> None:
    assert json.loads(to_json(DIED, NOON)) == {
        "time": "2026-03-01T12:00:00Z",
        "level": "error",
        "group": "cpu_sync",
        "worker": "cpu_sync-0#1",
        "event": "worker_exited",
        "reason": "killed: SIGKILL",
        "expected": False,
        "last_words": ["one", "two"],
    }


def test_programs_learn_the_url() -> None:
    assert json.loads(to_json(events.Serving("::1", 8000, 1.5), NOON))["url"] == "http://[::1]:8000"
    assert "url" not in json.loads(to_json(events.Serving("", 0, 1.5), NOON))


def test_programs_get_workers_lines_as_they_stand_in_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    hear = JsonLines()
    hear(events.LineWritten("web-0#1", "stderr", LINE), NOON)
    hear(events.LineWritten("web-0#1", "stdout", "hello"), NOON)
    own, wrapped = map(json.loads, capsys.readouterr().out.splitlines())
    assert own == {**json.loads(LINE), "group": "web", "stream": "stderr"}
    assert (wrapped["worker"], wrapped["stream"], wrapped["text"]) == ("web-0#1", "stdout", "hello")


@pytest.mark.parametrize("event", HAPPENED, ids=lambda event: type(event).__name__)
def test_people_see_a_line_or_nothing(seen: Callable[..., str], event: events.Event) -> None:
    quiet = isinstance(event, events.GroupStarting | events.WorkerSpawned | events.GroupUp)
    assert bool(seen(event)) is not quiet


def test_people_see_readiness_with_its_seconds(seen: Callable[..., str]) -> None:
    assert seen(events.WorkerReady("web-0#1", 0.41)).split()[1:] == ["web-0#1", "ready", "after", "0.41", "s"]


def test_people_see_where_it_serves_and_how_to_end_it(seen: Callable[..., str]) -> None:
    serving = events.Serving("127.0.0.1", 8000, 1.5)
    assert "Serving on http://127.0.0.1:8000 after 1.5 s; Ctrl-C drains" in seen(serving)
    assert "Ctrl-C" not in seen(serving, attached=False)
    assert "Ctrl-C now ends them" in seen(events.Draining(forced=False))


def test_why_a_worker_could_not_start_is_told_in_full(seen: Callable[..., str]) -> None:
    assert [line.strip() for line in seen(BROKE).splitlines()][1:] == ["Traceback:", "shop"]


def test_workers_lines_are_readable(seen: Callable[..., str]) -> None:
    untimed = json.dumps({"level": "info", "event": "started"})
    line = events.LineWritten("web-0#1", "stderr", untimed)
    assert seen(line).split()[-3:] == ["info", "web-0#1", "started"]
    own = events.LineWritten("web-0#1", "stdout", "a [b] {c")
    assert seen(own).endswith(" stdout  web-0#1        a [b] {c\n")
    assert not seen(events.LineWritten("web-0#1", "stderr", LINE.replace("started", "ready")))


def test_its_last_words_are_told_if_nobody_saw_them(seen: Callable[..., str]) -> None:
    assert len(seen(DIED).splitlines()) == 1
    assert [line.strip() for line in seen(DIED, attached=False).splitlines()][1:] == ["one", "two"]


class Stub:
    """Stands for the program that `--detach` starts: a few lines of Python with the log as their output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.file = folder / "stub.py"
        monkeypatch.setattr(cli.detach.shunter, "__file__", str(self.file))

    def is_to(self, *lines: str) -> None:
        self.file.write_text("\n".join(("import sys, time, os", *lines)))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stub:
    return Stub(monkeypatch, tmp_path)


def said(event: events.Event) -> str:
    return f"print({to_json(event, NOON)!r}, flush=True)"


def test_detached_it_is_left_alone_once_it_serves(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = tmp_path / "arguments"
    stub.is_to(
        f"open({str(arguments)!r}, 'w').write(repr((sys.argv, os.getsid(0) == os.getpid())))",
        said(events.WorkerReady("web-0#1", 0.4)),
        said(events.Serving("127.0.0.1", 8123, 0.5)),
        "time.sleep(0.2)",
    )
    state = tmp_path / "state"
    assert detached(Path("x.yaml"), ["a=1", "b=2"], state) == 0
    shown = capsys.readouterr().out
    assert "web-0#1" in shown
    assert "http://127.0.0.1:8123" in shown
    assert f"shunter stop --state-dir {state}" in shown
    argv = ["start", "--background", "--config", "x.yaml", "--state-dir", str(state), "--set", "a=1", "--set", "b=2"]
    assert arguments.read_text() == repr(([str(stub.file), *argv], True))
    assert (state / "logs/supervisor.out").stat().st_mode & 0o077 == 0


def test_detached_it_fails_with_its_reason_and_its_code(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.is_to("print('shunter.yaml:3:1: error: wrong', file=sys.stderr)", "sys.exit(2)")
    assert detached(Path("x.yaml"), [], tmp_path / "state") == 2
    left = capsys.readouterr().err
    assert left == "shunter.yaml:3:1: error: wrong\n"


def test_detached_it_may_end_without_a_word(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stub.is_to("os.kill(os.getpid(), 9)")
    assert detached(Path("x.yaml"), [], tmp_path / "state") == 1
    assert "supervisor.log" in capsys.readouterr().err


def test_detached_what_an_earlier_one_wrote_is_not_shown(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.is_to(said(events.Serving("127.0.0.1", 1, 0.5)), "sys.exit(1)")
    detached(Path("x.yaml"), [], tmp_path / "state")
    stub.is_to("os.kill(os.getpid(), 9)")
    assert detached(Path("x.yaml"), [], tmp_path / "state") == 1
    assert "http://127.0.0.1:1" in capsys.readouterr().out.splitlines()[1]


def test_a_full_log_is_put_aside(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.detach, "FULL", 10)
    stub.is_to("print('x' * 20)")
    for _ in range(2):
        detached(Path("x.yaml"), [], tmp_path / "state")
    logs = tmp_path / "state/logs"
    assert {path.name for path in logs.iterdir()} == {"supervisor.out", "supervisor.out.1"}


def test_an_unwritable_place_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert detached(Path("x.yaml"), [], tmp_path / "file") == 2
    assert f"{tmp_path}/file" in capsys.readouterr().err


def test_a_second_one_is_told_the_pid_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.detach, "running", lambda _state_dir: 4242)
    assert detached(Path("x.yaml"), [], tmp_path) == 2
    left = capsys.readouterr().err
    assert "4242" in left
    assert left.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_who_does_not_read_holds_up_nothing() -> None:
    goes_on, shown = threading.Event(), []

    def slow(event: events.Event, _when: datetime) -> None:
        goes_on.wait(10)
        shown.append(event)

    outlet = Outlet(slow, waiting=3)
    for _ in range(10):
        outlet(events.Stopped())
    assert not outlet.close(patience=0.05)
    goes_on.set()
    assert outlet.close()
    lost = [event for event in shown if isinstance(event, events.Trouble)]
    assert len(lost) == 1
    assert int(lost[0].what.split()[0]) + len(shown) - 1 == 10


@pytest.mark.parametrize("text", ["x", "x" * (WAITING_CHARACTERS // 10)], ids=["many", "long"])
def test_who_floods_leaves_room_for_others(text: str) -> None:
    goes_on, shown = threading.Event(), []

    def slow(event: events.Event, _when: datetime) -> None:
        goes_on.wait(30)
        shown.append(event)

    outlet = Outlet(slow, waiting=20)
    for _ in range(50):
        outlet(events.LineWritten("cpu-0#1", "stdout", text))
    for _ in range(4):
        outlet(events.LineWritten("cpu-1#2", "stdout", text))
    outlet(events.Stopped())
    goes_on.set()
    assert outlet.close(30)
    lines = [event.worker for event in shown if isinstance(event, events.LineWritten)]
    assert lines.count("cpu-1#2") == 4
    assert 4 <= lines.count("cpu-0#1") <= 11
    assert events.Stopped() in shown
    assert not outlet._lines
    assert outlet._total == 0


def test_what_cannot_be_shown_keeps_nothing_else_back() -> None:
    shown: list[events.Event] = []

    def show(event: events.Event, _when: datetime) -> None:
        if isinstance(event, events.Trouble):
            raise OSError("not this one")
        shown.append(event)

    outlet = Outlet(show)
    for event in (events.Trouble("x"), events.Stopped()):
        outlet(event)
    assert outlet.close()
    assert shown == [events.Stopped()]


def test_a_reader_that_leaves_is_no_fault() -> None:
    look = """
import sys
from supervisor.outlet import Outlet
from cli.show import JsonLines
from supervisor.events import Stopped
outlet = Outlet(JsonLines())
sys.stdin.read()
for _ in range(3):
    outlet(Stopped())
sys.exit(not outlet.close())
"""
    with subprocess.Popen([sys.executable, "-c", look], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.close()
        writer.stdin.close()
        assert writer.wait(10) == 0


@pytest.mark.parametrize(("patience", "told"), [(1.0, "have 1 s to finish"), (None, "are finished")])
def test_a_stop_says_how_long_calls_have(patience: float | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=100)
    monkeypatch.setattr(cli.show, "out", console)
    with console.capture() as captured:
        Terminal(attached=True, patience=patience)(events.Draining(forced=False), NOON)
    assert f"draining: calls under way {told}; Ctrl-C now ends them" in captured.get()
