"""What a worker says to people: one JSON object a line on its standard error, where its supervisor reads it.

A line is written whole or not at all, and never waited for: a supervisor that does not read costs lines, but
no time. Lost lines are counted and confessed with the next one that gets through.
"""

from __future__ import annotations

import os
import stat
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from ipc.messages.settings import LogSettings

MAX_LINE = 16_384
"""The longest line, bytes."""
MAX_FIELD = 4_096
"""What is kept of a text in a line that would be longer: its end, where a traceback says most."""
LAG = 5.0
"""How far the time that a line says may be from when its supervisor reads it to be believed, seconds."""

Level = Literal["debug", "info", "warning", "error"]
_RANK: dict[Level, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_encoder = msgspec.json.Encoder(enc_hook=str)


class Log:
    """One process's log. Any thread may write; fields must not hold credentials or bodies."""

    __slots__ = ("_fd", "_least", "_lost", "_rest", "_worker", "_writing", "requests")

    def __init__(self, worker: str, settings: LogSettings, fd: int = 2) -> None:
        self._worker = worker
        self._least = _RANK[settings.level]
        self.requests = settings.requests
        self._fd = _unwaiting(fd)
        self._writing = threading.Lock()
        self._rest = b""  # of a line that the pipe took only in part
        self._lost = 0

    @property
    def lost(self) -> int:
        """Lines that could not be written and were not confessed yet."""
        return self._lost

    def debug(self, event: str, /, **fields: object) -> None:
        """Of use to somebody who looks for a fault."""
        if self._least <= _RANK["debug"]:
            self._write("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Normal, and worth knowing."""
        if self._least <= _RANK["info"]:
            self._write("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Not what was meant, but the service goes on as promised."""
        if self._least <= _RANK["warning"]:
            self._write("warning", event, fields)

    def error(self, event: str, /, error: BaseException | None = None, **fields: object) -> None:
        """Somebody did not get what was promised. `error` adds its traceback, without values of variables."""
        if error is not None:
            fields["traceback"] = _traceback(error)
        self._write("error", event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, object]) -> None:
        line = _line(level, self._worker, event, fields)
        with self._writing:
            if self._lost and self._push(_line("warning", self._worker, "log_lines_lost", {"count": self._lost})):
                self._lost = 0
            if not self._push(line):
                self._lost += 1

    def _push(self, line: bytes) -> bool:
        """Whether `line` is on its way. What the pipe did not take of the one before goes first."""
        data = self._rest + line
        try:
            written = os.write(self._fd, data)
        except OSError:  # full, or nobody reads any more
            return False
        begun = written >= len(self._rest)
        self._rest = data[written:] if begun else self._rest[written:]
        return begun


def _line(level: Level, worker: str, event: str, fields: dict[str, object]) -> bytes:
    head = {"time": datetime.now(UTC), "level": level, "worker": worker, "event": event}
    line = _encode({**head, **fields})
    if len(line) >= MAX_LINE:
        texts = {name: text[-MAX_FIELD:] for name, text in fields.items() if isinstance(text, str)}
        line = _encode({**head, **texts, "cut": True})
        if len(line) >= MAX_LINE:
            line = _encode({**head, "event": event[:MAX_FIELD], "cut": True})
    return line + b"\n"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - it looks at what the error says of itself, and a node may raise any
        return f"{type(error).__name__}, and no traceback can be made of it"


def _encode(fields: dict[str, object]) -> bytes:
    try:
        return _encoder.encode(fields)
    except Exception:  # noqa: BLE001 - half a character, or an object that cannot say what it is: no reason to fail
        return _encoder.encode({name: _plain(value) for name, value in fields.items()})


def _plain(value: object) -> object:
    if isinstance(value, datetime | int | float):
        return value
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - as above
        text = f"<{type(value).__name__}>"
    return text.encode(errors="backslashreplace").decode()


def _unwaiting(fd: int) -> int:
    """A descriptor of the same pipe that never waits. `fd` itself must, or `print` would fail in between."""
    with suppress(OSError):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return fd
