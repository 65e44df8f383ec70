"""What a child writes, line by line: bounded, and safe to show."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_LINE = 32_768
"""A longer line is told in pieces of so many bytes."""
_CHUNK = 65_536
_MOST_AT_THE_END = 64
"""Chunks that are still read once the process has ended: a grandchild may hold the pipe and go on writing."""
# Tab is harmless. The others move a terminal's cursor, or end a line where there is none.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Lines:
    """Bytes in, lines of text out; at most `limit` bytes wait for the end of theirs."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Take what was written; returns the lines it completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in whole for piece in self._cut(line)]
        *long, self._rest = self._cut(rest)
        return [_readable(piece) for piece in pieces + long]

    def end(self) -> list[str]:
        """Nothing more comes; returns the last line if it had no end."""
        rest, self._rest = self._rest, b""
        return [_readable(rest)] if rest else []

    def _cut(self, line: bytes) -> list[bytes]:
        return [line[at : at + self._limit] for at in range(0, len(line), self._limit)] or [line]


def _readable(line: bytes) -> str:
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Output:
    """One pipe of one child, read as long as there is something; the child never waits for more than that."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._on_line = on_line
        self._lines = Lines()
        loop.add_reader(fd, self._read)

    def finish(self) -> None:
        """The process has ended: read what it left behind, and close."""
        for _ in range(_MOST_AT_THE_END):
            if self._fd < 0 or not self._read():
                break
        self._close()

    def _read(self) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        for line in self._lines.feed(data):
            self._on_line(line)
        if not data:
            self._close()
        return bool(data)

    def _close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            for line in self._lines.end():
                self._on_line(line)
