"""What `shunter events` prints of what a supervisor tells."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import cli.events
import cli.output  # it looks at standard output when imported: not when a test plays a terminal
from cli.events import events
from ipc.control import NoAnswer, Unwilling
from ipc.messages.control import Answer, Happened, Missed, Refused, Watch
from supervisor.chronicle import to_json
from supervisor.events import NotReloaded, Trouble, WorkerExited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Tells = Callable[..., list[Watch]]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIED = to_json(WorkerExited("cpu-0#1", "killed: SIGKILL\x1b[2J", expected=False, last_words=("one",)), NOON)
LATER = '{"time":"2026-03-01T12:00:00Z","event":"of_another_version"}'


@pytest.fixture
def tells(monkeypatch: pytest.MonkeyPatch) -> Tells:
    """A supervisor that tells what it is given, and then fails as it is told to."""
    heard: list[Watch] = []

    def prepare(*answers: Answer, error: BaseException | None = None) -> list[Watch]:
        @contextmanager
        def watching(_state_dir: Path, order: Watch) -> Iterator[Iterator[Answer]]:
            heard.append(order)

            def told() -> Iterator[Answer]:
                yield from answers
                if error is not None:
                    raise error

            yield told()

        monkeypatch.setattr(cli.events, "watching", watching)
        return heard

    return prepare


def test_programs_get_the_lines_as_they_are(tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = tells(Happened(DIED), Missed(3), Happened(LATER))
    assert events(tmp_path, last=5, follow=True, as_json=True) == 0
    assert heard == [Watch(5, follow=True)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == DIED
    assert json.loads(lines[1]) == {"event": "missed", "count": 3}
    assert lines[2] == LATER


def test_a_pipe_gets_one_plain_line_for_each(tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tells(Happened(DIED), Missed(1), Happened(LATER))
    assert events(tmp_path, last=5, follow=False, as_json=False) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    local = f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}.000"
    assert lines[0].startswith(f"{local} error   cpu-0#1: killed: SIGKILL")
    assert lines[1].startswith("... 1 event left out")
    assert "of_another_version" in lines[2]


def test_a_terminal_obeys_nothing_in_a_line(
    tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = '{"event": "of_another_version", "x": "\x9b2J"}'
    tells(Happened(line))
    assert events(tmp_path, last=5, follow=False, as_json=True) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert events(tmp_path, last=5, follow=False, as_json=False) == 0
    assert "\x9b" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert events(tmp_path, last=5, follow=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(line)
    for as_json in (False, True):
        assert events(tmp_path, last=5, follow=False, as_json=as_json) == 0
        assert "\x9b" not in capsys.readouterr().out


def test_a_pipe_gets_a_report_line_by_line(tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tells(*(Happened(to_json(NotReloaded(why), NOON)) for why in ("shop.yaml:3:1: error: no\n  hint: yes", "error: a")))
    assert events(tmp_path, last=5, follow=False, as_json=False) == 0
    first, hint, last = capsys.readouterr().out.splitlines()
    assert first.endswith("not reloaded: shop.yaml:3:1: error: no")
    assert hint == "      hint: yes"
    assert last.endswith("not reloaded: a")


def test_a_terminal_gets_what_a_dead_worker_said_below(
    tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tells(Happened(DIED), Missed(2), Happened(LATER), Happened(to_json(Trouble("a bug"), NOON)))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert events(tmp_path, last=5, follow=False, as_json=False) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\n    one\n" in out
    assert "2 events left out" in out
    assert "a bug" in out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NoAnswer("the supervisor left"), 1, "the supervisor left"),
        (Unwilling(Refused("too many watch")), 1, "too many watch"),
        (Unwilling(Refused("no order this version knows", usage=True)), 2, "no order"),
        (KeyboardInterrupt(), 0, ""),
    ],
)
def test_what_ends_it_is_said(
    tells: Tells, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    tells(Missed(1), error=error)
    assert events(tmp_path, last=5, follow=True, as_json=True) == code
    assert said in capsys.readouterr().err


def test_nothing_that_runs_is_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert events(tmp_path, last=5, follow=True, as_json=False) == 3
    assert "nothing runs" in capsys.readouterr().err
