"""What workers wrote and what happened to them, kept: a file of JSON lines for each group, and one for the supervisor.

They are of bounded size, and a full disk costs lines only.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from ipc.decoding.jsontext import json_object
from ipc.log import LAG
from supervisor.chronicle import to_json
from supervisor.events import LinesLost, LineWritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supervisor.events import Event

OWN = "supervisor"
"""The file of what happens to the service; no group has this name."""
RETRY = 1.0
"""How long a file that could not be written is left alone, seconds."""
GLANCE = 1.0
"""How long a file may be somewhere else until that is noticed, seconds."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_LAG = timedelta(seconds=LAG)
_encode = msgspec.json.encode


def entry(event: LineWritten, when: datetime) -> bytes:
    """One line of the file. A line that is an event in JSON keeps its fields; who wrote it, and when, is ours to say.

    It knows better when by a moment. What else it calls `time`, a duration say, is kept as `own_time`.
    """
    said = (json_object(event.text) if event.stream == "stderr" else None) or {}
    if "event" not in said:
        said = {"text": event.text}
    elif not _at(said.get("time", ""), when):
        said = {"own_time" if name == "time" else name: value for name, value in said.items()}
    whose: dict[str, Any] = {}
    if len(event.requests) == 1:
        whose["request_id"] = event.requests[0]
    elif event.requests:
        whose["request_ids"] = event.requests
    who = {"group": event.worker.partition("-")[0], "worker": event.worker, "stream": event.stream}
    return _encode({"time": when, **whose, **said, **who}) + b"\n"


def _at(said: object, when: datetime) -> bool:
    """Whether a line says that it was written now, as ours do."""
    try:
        return isinstance(said, str) and abs(datetime.fromisoformat(said) - when) <= _LAG
    except (ValueError, TypeError):  # no time, or one of some other zone that it does not tell
        return False


class Logbook:
    """Appends to the files in one directory, and tells when it cannot. Not for a thread that must not wait."""

    def __init__(self, directory: Path, tell: Callable[[Event], None], max_bytes: int, files: int) -> None:
        """Of each file there are so many, of so many bytes at most: `x.log`, and older ones `x.log.1` and so on."""
        self._directory = directory
        self._tell = tell
        self._bounds = max_bytes, files
        self._files: dict[str, _File] = {}

    def hear(self, event: Event, when: datetime) -> None:
        """Keep the line that a worker wrote, or what happened beside that."""
        if isinstance(event, LineWritten):
            group, line = event.worker.partition("-")[0], entry(event, when)
        else:
            group, line = OWN, f"{to_json(event, when)}\n".encode()
        file = self._files.get(group)
        if file is None:
            file = self._files[group] = _File(self._directory / f"{group}.log", *self._bounds)
        why = file.append(line)
        if why:
            self._tell(LinesLost(group, why))

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class _File:
    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._older = [path.with_name(f"{path.name}.{age}") for age in range(1, files)]
        self._fd = -1
        self._size = 0
        self._lost = 0
        self._not_before = 0.0
        self._look_again = 0.0

    def append(self, line: bytes) -> str:
        """Why lines are being lost, at the first that is; else empty."""
        if time.monotonic() < self._not_before:
            self._lost += 1
            return ""
        try:
            if self._lost:
                head = {"time": datetime.now(UTC), "level": "warning", "group": self._path.stem}
                self._push(_encode({**head, "event": "lines_lost", "count": self._lost}) + b"\n")
                self._lost = 0
            self._push(line)
        except OSError as error:
            self.close()
            first, self._lost = not self._lost, self._lost + 1
            self._not_before = time.monotonic() + RETRY
            return f"{self._path}: {os.strerror(error.errno or 0)}" if first else ""
        return ""

    def _push(self, line: bytes) -> None:
        now = time.monotonic()
        if now > self._look_again:
            self._look_again = now + GLANCE
            if self._fd >= 0 and not self._is_there():
                self.close()
        if self._fd >= 0 and self._size + len(line) > self._max_bytes:
            self.close()
            self._age()
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, _FLAGS, 0o600)
            self._size = os.fstat(self._fd).st_size
        written = os.write(self._fd, line)
        if written < len(line):  # the disk took only its beginning: better none of it
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, "")
        self._size += written

    def _is_there(self) -> bool:
        """Whether the open file still has its name: somebody may have deleted or moved it."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _age(self) -> None:
        """Have each file take the name of the next older one."""
        for younger, older in reversed(list(zip([self._path, *self._older], self._older, strict=False))):
            with suppress(FileNotFoundError):
                younger.replace(older)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
