"""Orders to the supervisor: what is asked, what is shown meanwhile, and with which code it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import cli.orders
from cli.restart import restart
from cli.scale import scale
from cli.stop import stop
from ipc.control import NoAnswer, NotRunning
from ipc.messages.control import Done, Order, Refused, Restart, Scale, Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Supervisor:
    """Answers every order in the same way, and remembers what it was."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.answer: Done | Refused | BaseException = Done("stopped")
        self.said = "web-0#1 drains"

    def ask(self, _state_dir: Path, order: Order, on_progress: Callable[[str], None]) -> Done | Refused:
        self.orders.append(order)
        on_progress(self.said)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    made = Supervisor()
    monkeypatch.setattr(cli.orders, "ask", made.ask)
    return made


def test_progress_is_shown_and_then_the_outcome(
    supervisor: Supervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stop(tmp_path, force=False) == 0
    assert supervisor.orders == [Stop(force=False)]
    assert capsys.readouterr().out == "web-0#1 drains\nstopped\n"


def test_a_terminal_obeys_nothing_that_a_worker_said(
    supervisor: Supervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.said = "cpu-0#1: broke: \x1b[2J\x9b2J"
    supervisor.answer = Done("two\nlines\x1b]0;x\x07")
    assert restart(tmp_path, "") == 0
    assert capsys.readouterr().out == "cpu-0#1: broke: \\x1b[2J\\x9b2J\ntwo\nlines\\x1b]0;x\\x07\n"
    for answer in (Refused("no\x1b[2J"), Refused("no\x1b[2J", report=True), NoAnswer("no\x1b[2J")):
        supervisor.answer = answer
        assert restart(tmp_path, "") == 1
        assert capsys.readouterr().err.removeprefix("error: ") == "no\\x1b[2J\n"


def test_force_is_handed_on(supervisor: Supervisor, tmp_path: Path) -> None:
    stop(tmp_path, force=True)
    assert supervisor.orders == [Stop(force=True)]


@pytest.mark.parametrize("group", ["", "cpu_sync"])
def test_a_restart_names_its_group(supervisor: Supervisor, tmp_path: Path, group: str) -> None:
    assert restart(tmp_path, group) == 0
    assert supervisor.orders == [Restart(group)]


def test_a_scale_names_its_group_and_how_many(supervisor: Supervisor, tmp_path: Path) -> None:
    assert scale(tmp_path, "cpu_sync", 4) == 0
    assert supervisor.orders == [Scale("cpu_sync", 4)]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (Refused("there is no group 'cpu'; did you mean 'cpu_sync'?", usage=True), 2, "did you mean"),
        (Refused("web-0#2 did not become ready"), 1, "did not become ready"),
        (NotRunning("nothing runs for /srv"), 3, "nothing runs for /srv"),
        (NoAnswer("the supervisor left"), 1, "the supervisor left"),
        (KeyboardInterrupt(), 1, "the order stands"),
    ],
)
def test_what_was_not_done_is_said_on_standard_error(
    supervisor: Supervisor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: Refused | BaseException,
    code: int,
    said: str,
) -> None:
    supervisor.answer = answer
    assert restart(tmp_path, "") == code
    assert said in capsys.readouterr().err
