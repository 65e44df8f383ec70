"""The asking side of the control socket: one order, its progress, its answer. Blocking and light."""

from __future__ import annotations

import os
import select
import socket
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from ipc.messages.control import (
    AskStatus,
    Called,
    Done,
    Happened,
    Missed,
    Progress,
    Refused,
    Status,
    Stop,
    decode_answer,
    encode,
)
from ipc.sockname import credentials, fitting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ipc.messages.control import Answer, CallNode, Order, Watch

SOCKET = "control.sock"
LOCK = "lock"
"""The file that decides who is the supervisor of a state directory; it holds its pid."""
PATIENCE = 5.0
"""How long a supervisor may take to listen, and to answer what it knows at once; seconds."""
MAX_ANSWER = 16 * 1024 * 1024


class ControlError(Exception):
    """An order could not be given, or nobody knows what came of it."""


class NotRunning(ControlError):
    """No supervisor of this state directory answers."""


class NoAnswer(ControlError):
    """A supervisor is there, but did not answer as it should; the order may have been carried out or not."""


class Unwilling(ControlError):
    """The supervisor refused to tell."""

    def __init__(self, answer: Refused) -> None:
        super().__init__(answer.why)
        self.answer = answer


def address(state_dir: Path) -> AbstractContextManager[str]:
    """A name of the control socket that fits into a socket address, however long the directory's name is."""
    return fitting(str((state_dir / SOCKET).absolute()))


@contextmanager
def watching(state_dir: Path, order: Watch) -> Iterator[Iterator[Status | Happened | Missed]]:
    """What the supervisor of `state_dir` tells, as it comes; ends when nothing more is to come.

    Raises NotRunning or NoAnswer, when it is made and while it is read, and Unwilling if it is refused. To leave the
    context ends it.
    """
    with _connect(state_dir) as connection:
        supervisor = _peer(connection, state_dir)
        try:
            _say(connection, encode(order))
            # One that is to speak every so often and does not is not well. Events come when they come.
            connection.settimeout(PATIENCE + order.interval if order.interval else None)
        except OSError as error:
            raise NoAnswer(f"the supervisor (pid {supervisor}) does not answer: {error}") from error
        yield _told(connection, supervisor)


def _told(connection: socket.socket, supervisor: int) -> Iterator[Status | Happened | Missed]:
    for answer in _answers(connection, supervisor):
        match answer:
            case Done():
                return
            case Refused():
                raise Unwilling(answer)
            case Status() | Happened() | Missed():
                yield answer


def call(state_dir: Path, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
    """Have a node called by the service of `state_dir`; returns what came of it, and the result.

    Raises NotRunning or NoAnswer.
    """
    with _connect(state_dir) as connection:
        supervisor = _peer(connection, state_dir)
        try:
            _say(connection, encode(order) + arguments + (body or b""))
            connection.settimeout(order.timeout + 2 * PATIENCE + 5)  # the supervisor bounds it sooner
            answers = _Lines(connection)
            match answer := answers.line():
                case Called(size):
                    return answer, answers.exactly(size)
                case Refused():
                    return answer, b""
        except OSError as error:
            raise NoAnswer(f"the supervisor (pid {supervisor}) does not answer: {error}") from error
    raise NoAnswer("the supervisor answered something else than what came of the call")


def ask(state_dir: Path, order: Order, on_progress: Callable[[str], None] | None = None) -> Status | Done | Refused:
    """Give `order` to the supervisor of `state_dir` and wait for what comes of it.

    After a `Stop` that was carried out the supervisor's process is gone when this returns. Raises
    NotRunning or NoAnswer.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(_connect(state_dir))
        supervisor = _peer(connection, state_dir)
        if isinstance(order, Stop):
            stack.callback(os.close, gone := _pidfd(supervisor))
        try:
            _say(connection, encode(order))
            if not isinstance(order, AskStatus):
                connection.settimeout(None)  # the supervisor bounds it; if it dies the connection ends
        except OSError as error:
            raise NoAnswer(f"the supervisor (pid {supervisor}) does not answer: {error}") from error
        answer = _last_answer(connection, supervisor, on_progress or _ignore)
        connection.close()
        if isinstance(order, Stop) and isinstance(answer, Done):
            select.select([gone], [], [], PATIENCE)
        return answer


def _say(connection: socket.socket, what: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it refuses before it has heard all: its answer says why
        connection.sendall(what)


def _connect(state_dir: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        with address(state_dir) as path:
            connection.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        raise NotRunning(f"nothing runs for {state_dir}") from None
    except OSError as error:
        connection.close()
        raise NoAnswer(f"the control socket in {state_dir} cannot be used: {error}") from error
    return connection


def _peer(connection: socket.socket, state_dir: Path) -> int:
    """The pid of who listens; NoAnswer unless it is this user's or root's, for anybody can make a socket.

    Root may look after the services of others: there it is to be the one whose directory it is.
    """
    found = credentials(connection)
    expected = os.geteuid() or state_dir.stat().st_uid
    if found.uid not in {0, expected}:
        raise NoAnswer(f"the control socket belongs to another user (uid {found.uid})")
    return found.pid


def _pidfd(pid: int) -> int:
    """A descriptor that is readable once the process is gone; one that always is, if it cannot be had."""
    with suppress(OSError):
        return os.pidfd_open(pid)
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _last_answer(
    connection: socket.socket, supervisor: int, on_progress: Callable[[str], None]
) -> Status | Done | Refused:
    for answer in _answers(connection, supervisor):
        match answer:
            case Progress(text):
                on_progress(text)
            case Status() | Done() | Refused():
                return answer
    raise AssertionError  # the answers end with an error of their own


def _answers(connection: socket.socket, supervisor: int) -> Iterator[Answer]:
    """Each line that comes; NoAnswer at its end, for that is not how a conversation ends."""
    lines = _Lines(connection)
    while True:
        try:
            line = lines.line()
        except OSError as error:
            raise NoAnswer(f"the supervisor (pid {supervisor}) does not answer: {error}") from error
        yield line  # what is done with it may fail, too, and not by the supervisor


class _Lines:
    """What a supervisor says, line by line; NoAnswer where it ends too soon or makes no sense."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def line(self) -> Answer:
        """The next one."""
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            if (looked := len(self._buffer)) > MAX_ANSWER:
                raise NoAnswer(f"the supervisor's answer is longer than {MAX_ANSWER} bytes")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            return decode_answer(line)
        except msgspec.MsgspecError as error:
            raise NoAnswer("the supervisor answers in words of another version of Shunter") from error

    def exactly(self, size: int) -> bytes:
        """So many bytes that follow."""
        if size > MAX_ANSWER:
            raise NoAnswer(f"the supervisor's answer is longer than {MAX_ANSWER} bytes")
        while len(self._buffer) < size:
            self._more()
        return bytes(self._buffer[:size])

    def _more(self) -> None:
        if not (data := self._connection.recv(65_536)):
            raise NoAnswer("the supervisor left before it had answered")
        self._buffer += data


def _ignore(_text: str) -> None:
    pass
