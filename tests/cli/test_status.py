"""What `status` shows of an answer, and what it says without one."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from cli.status import rows, status
from ipc.control import SOCKET
from ipc.messages import control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Says = Callable[..., list[control.Order]]

WORKER = control.WorkerStatus("cpu_sync-0#3", 4243, "ready", 3, 2, 1000.0, 1234567, 1, 50 * 2**20, "killed: SIGKILL")
STATUS = control.Status(
    control.SupervisorStatus(4242, "0.1.0", 900.0, "/srv/shop/shunter.yaml"),
    (
        control.GroupStatus("web", "up", (msgspec.structs.replace(WORKER, name="web-0#1", reason=""),)),
        control.GroupStatus("cpu_sync", "degraded", (WORKER,)),
    ),
)


@pytest.fixture
def says(tmp_path: Path) -> Iterator[Says]:
    """A stand-in for a supervisor: keeps the one order that comes, and gives the answers it was told."""
    with socket.socket(socket.AF_UNIX) as listener:
        heard: list[control.Order] = []
        threads: list[threading.Thread] = []

        def answer(answers: tuple[control.Answer, ...]) -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(control.decode_order(connection.recv(control.MAX_LINE)))
                connection.sendall(b"".join(map(control.encode, answers)))

        def start(*answers: control.Answer) -> list[control.Order]:
            listener.bind(str(tmp_path / SOCKET))
            listener.listen()
            threads.append(threading.Thread(target=answer, args=(answers,)))
            threads[-1].start()
            return heard

        yield start
        for thread in threads:
            thread.join(10)


def test_json_is_exactly_what_is_promised(tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    heard = says(STATUS)
    assert status(tmp_path, as_json=True) == 0
    assert heard == [control.AskStatus()]
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["supervisor", "groups"]
    assert said["supervisor"] == {
        "pid": 4242,
        "version": "0.1.0",
        "since": 900.0,
        "config": "/srv/shop/shunter.yaml",
        "allow_debug": False,
    }
    web, cpu = said["groups"]
    assert list(web) == ["name", "state", "workers"]
    fields = ["name", "pid", "state", "incarnation", "restarts", "since", "calls", "running", "rss_bytes"]
    assert list(web["workers"][0]) == [*fields, "longest", "refused", "cpu_seconds", "crashes"]
    assert list(cpu["workers"][0]) == [*fields, "reason", "longest", "refused", "cpu_seconds", "crashes", "planned"]


def test_figures_are_shown_where_there_are_any(tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    figures = control.Figures(120.25, 0.1, 3.0, 5.5, 21.0, 2)
    web, cpu = STATUS.groups
    says(msgspec.structs.replace(STATUS, groups=(web, msgspec.structs.replace(cpu, figures=figures))))
    assert status(tmp_path, as_json=False) == 0
    assert (
        "\n\ncpu_sync: 120.2/s, answered in 5.5 ms (p99 21.0 ms), after a wait of 0.1 ms (p99 3.0 ms), 2 waiting\n"
        in capsys.readouterr().out
    )


def test_people_get_a_table(tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    says(STATUS)
    assert status(tmp_path, as_json=False) == 0
    said = capsys.readouterr().out
    assert "0.1.0, pid 4242" in said
    assert "/srv/shop/shunter.yaml" in said
    assert "cpu_sync-0#3: the one before: killed: SIGKILL" in said


def test_an_end_that_was_planned_is_no_news(tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    (web, cpu) = STATUS.groups
    replaced = msgspec.structs.replace(cpu.workers[0], reason="recycled: drained by hand", planned=True)
    says(msgspec.structs.replace(STATUS, groups=(web, msgspec.structs.replace(cpu, workers=(replaced,)))))
    assert status(tmp_path, as_json=False) == 0
    assert "the one before" not in capsys.readouterr().out


def test_the_table_counts_from_its_own_now() -> None:
    console = Console(width=82)
    with console.capture() as captured:
        console.print(rows(STATUS, 1192.0))
    row = next(line for line in captured.get().splitlines() if "cpu_sync-0#3" in line)
    assert row.split() == ["cpu_sync-0#3", "ready", "3", "m", "12", "s", "4243", "1,234,567", "1", "2", "50", "MiB"]


def test_refused_messages_have_a_column_once_there_are_some() -> None:
    console = Console(width=120)
    (web, cpu) = STATUS.groups
    forged = msgspec.structs.replace(cpu.workers[0], refused=1234)
    found = {}
    for worker in (cpu.workers[0], forged):
        answer = msgspec.structs.replace(STATUS, groups=(web, msgspec.structs.replace(cpu, workers=(worker,))))
        with console.capture() as captured:
            console.print(rows(answer, 1192.0))
        found[worker.refused] = captured.get()
    assert "refused" not in found[0]
    assert "refused" in found[1234]
    assert "1,234 " in found[1234]


def test_a_call_that_takes_long_is_told_of_in_the_table() -> None:
    console = Console(width=120)
    (web, cpu) = STATUS.groups
    for longest, told in ((0.9, "1 "), (3.21, "1 (3.2 s)")):
        worker = msgspec.structs.replace(cpu.workers[0], running=1, longest=longest)
        answer = msgspec.structs.replace(STATUS, groups=(web, msgspec.structs.replace(cpu, workers=(worker,))))
        with console.capture() as captured:
            console.print(rows(answer, 1192.0))
        assert told in captured.get()


def test_a_service_that_may_be_debugged_says_so_first(
    tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    says(msgspec.structs.replace(STATUS, supervisor=msgspec.structs.replace(STATUS.supervisor, allow_debug=True)))
    assert status(tmp_path, as_json=False) == 0
    assert capsys.readouterr().out.startswith("WARNING: hardening.allow_debug is on")


def test_nobody_there_is_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(tmp_path, as_json=True) == 3
    assert status(tmp_path / "not" / "there", as_json=False) == 3
    out, err = capsys.readouterr()
    assert not out
    assert str(tmp_path) in err


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ((control.Refused("managed workers may not ask"),), 1, "managed workers may not ask"),
        ((control.Refused("no such thing", usage=True),), 2, "no such thing"),
        ((control.Done("well"),), 1, "something else"),
        ((), 1, "left before"),
    ],
)
def test_other_answers_are_failures(
    tmp_path: Path,
    says: Says,
    capsys: pytest.CaptureFixture[str],
    answers: tuple[control.Answer, ...],
    code: int,
    said: str,
) -> None:
    says(*answers)
    assert status(tmp_path, as_json=True) == code
    assert said in capsys.readouterr().err


def test_who_is_given_up_says_why_and_what_to_do(
    tmp_path: Path, says: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = msgspec.structs.replace(
        WORKER, state="failed", reason="ModuleNotFoundError: no shop", crashes=11, last_words="Traceback\n  \x1b[2J"
    )
    other = msgspec.structs.replace(lost, name="cpu_sync-1#9")
    says(msgspec.structs.replace(STATUS, groups=(control.GroupStatus("cpu_sync", "failed", (lost, other)),)))
    assert status(tmp_path, as_json=False) == 0
    said = capsys.readouterr().out.splitlines()
    first = said.index("cpu_sync-0#3: given up after 11 crashes in a row: ModuleNotFoundError: no shop")
    assert said[first + 1 :] == [
        "    Traceback",
        "      \\x1b[2J",
        "cpu_sync-1#9: given up after 11 crashes in a row: ModuleNotFoundError: no shop",
        "When that is mended: shunter restart cpu_sync",
    ], "the same words are told once"
