"""What workers wrote and what happened to them, kept: a file of JSON lines for each group, and one for the supervisor.

They are of bounded size, and a full disk costs lines only.
"""

from __future__ import annotations

import errno
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from ipc.decoding.jsontext import json_object
from supervisor.chronicle import to_json
from supervisor.events import LinesLost, LineWritten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supervisor.events import Event, Stream

MAX_FILE = 10 * 1024 * 1024
"""The size at which a file becomes the older one, bytes; there are two for each group."""
OWN = "supervisor"
"""The file of what happens to the service; no group has this name."""
RETRY = 1.0
"""How long a file that could not be written is left alone, seconds."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_encode = msgspec.json.encode


def entry(worker: str, stream: Stream, text: str, now: datetime) -> bytes:
    """One line of the file. A line that is an event in JSON keeps its fields; who wrote it is ours to say."""
    said = (json_object(text) if stream == "stderr" else None) or {}
    if "event" not in said:
        said = {"text": text}
    return _encode({"time": now, **said, "worker": worker, "stream": stream}) + b"\n"


class Logbook:
    """Appends to the files in one directory, and tells when it cannot."""

    def __init__(self, directory: Path, tell: Callable[[Event], None], max_file: int = MAX_FILE) -> None:
        self._directory = directory
        self._tell = tell
        self._max_file = max_file
        self._files: dict[str, _File] = {}

    def hear(self, event: Event) -> None:
        """Keep the lines that workers write and the events beside them; as a hook."""
        if isinstance(event, LineWritten):
            self.write(event.worker, event.stream, event.text)
        else:
            self._append(OWN, f"{to_json(event, datetime.now(UTC))}\n".encode())

    def write(self, worker: str, stream: Stream, text: str) -> None:
        """Append a line to the file of the worker's group."""
        self._append(worker.partition("-")[0], entry(worker, stream, text, datetime.now(UTC)))

    def _append(self, group: str, line: bytes) -> None:
        file = self._files.get(group)
        if file is None:
            file = self._files[group] = _File(self._directory / f"{group}.log", self._max_file)
        why = file.append(line)
        if why:
            self._tell(LinesLost(group, why))

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class _File:
    def __init__(self, path: Path, max_file: int) -> None:
        self._path = path
        self._max_file = max_file
        self._fd = -1
        self._size = 0
        self._lost = 0
        self._not_before = 0.0

    def append(self, line: bytes) -> str:
        """Why lines are being lost, at the first that is; else empty."""
        if time.monotonic() < self._not_before:
            self._lost += 1
            return ""
        try:
            if self._lost:
                self._push(_encode({"time": datetime.now(UTC), "event": "lines_lost", "count": self._lost}) + b"\n")
                self._lost = 0
            self._push(line)
        except OSError as error:
            self.close()
            first, self._lost = not self._lost, self._lost + 1
            self._not_before = time.monotonic() + RETRY
            return f"{self._path}: {os.strerror(error.errno or 0)}" if first else ""
        return ""

    def _push(self, line: bytes) -> None:
        if self._fd >= 0 and self._size + len(line) > self._max_file:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, _FLAGS, 0o600)
            self._size = os.fstat(self._fd).st_size
        written = os.write(self._fd, line)
        if written < len(line):  # the disk took only its beginning: better none of it
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, "")
        self._size += written

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
