"""Asking a supervisor, played here by a thread that says what it was given."""

from __future__ import annotations

import errno
import os
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from ipc import control
from ipc.control import ControlError, NoAnswer, NotRunning, address, ask
from ipc.messages.control import AskStatus, Done, Progress, Refused, Restart, Status, SupervisorStatus, encode
from ipc.sockname import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATUS = Status(SupervisorStatus(1, "0", 0.0, "shunter.yaml"), ())


@contextmanager
def supervisor(state_dir: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """One that takes a line, says `answers` and hangs up."""
    heard = []
    state_dir.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        with address(state_dir) as path:
            server.bind(path)
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with suppress(BrokenPipeError), connection, connection.makefile("rwb") as stream:
                heard.append(stream.readline())
                for said in answers:
                    stream.write(said)
                    stream.flush()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield heard
        thread.join(10)


def test_status_is_asked_and_answered(tmp_path: Path) -> None:
    with supervisor(tmp_path, encode(STATUS)) as heard:
        assert ask(tmp_path, AskStatus()) == STATUS
    assert heard == [encode(AskStatus())]


def test_progress_is_passed_on_until_the_answer(tmp_path: Path) -> None:
    told = []
    said = encode(Progress("one")) + encode(Progress("two"))
    with supervisor(tmp_path, said[:9], said[9:], encode(Done("done"))):
        assert ask(tmp_path, Restart(), told.append) == Done("done")
    assert told == ["one", "two"]


def test_who_cannot_be_told_of_progress_says_so_and_does_not_blame_the_supervisor(tmp_path: Path) -> None:
    def full(_text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    said = encode(Progress("one")) + encode(Done("done"))
    with supervisor(tmp_path, said), pytest.raises(OSError, match="No space left") as raised:
        ask(tmp_path, Restart(), full)
    assert not isinstance(raised.value, ControlError)


def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    with supervisor(tmp_path, encode(Refused("no such group", usage=True))):
        assert ask(tmp_path, Restart("x")) == Refused("no such group", usage=True)


def test_a_long_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with supervisor(deep, encode(STATUS)):
        assert ask(deep, AskStatus()) == STATUS


def test_nothing_runs_where_no_socket_is(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "no" / "where", tmp_path / ("d" * 120)):
        with pytest.raises(NotRunning):
            ask(missing, AskStatus())


def test_a_socket_that_nobody_listens_on_is_stale(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, address(tmp_path) as path:
        server.bind(path)
        with pytest.raises(NotRunning):
            ask(tmp_path, AskStatus())


@pytest.mark.parametrize("said", [b"", b"what?\n", b'{"answer":"new"}\n', encode(Progress("x"))])
def test_no_answer_is_said_to_be_none(tmp_path: Path, said: bytes) -> None:
    with supervisor(tmp_path, said), pytest.raises(NoAnswer):
        ask(tmp_path, AskStatus())


def test_a_stranger_s_socket_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "credentials", lambda _connection: Credentials(1, 4_000_000, 0))
    with supervisor(tmp_path, encode(STATUS)), pytest.raises(NoAnswer, match="another user"):
        ask(tmp_path, AskStatus())
