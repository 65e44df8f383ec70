"""The end of one log file that grows and is rotated: `x.log` and, when that is full, `x.log.1`."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 64 * 1024


class Tail:
    """First the last lines that are there, then those that come; no line twice, none left out.

    (Unless the file is rotated twice between two looks: the one in the middle is gone before it was read.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""

    def last(self, count: int) -> list[str]:
        """The last lines up to now, those of the older file included; `more` goes on from here."""
        self._open()
        if self._file is None:
            return []
        found, self._rest = _last_lines(self._file, count)
        with suppress(FileNotFoundError), self._path.with_name(f"{self._path.name}.1").open("rb") as older:
            # Rotated since we opened it? Then the older file is the one that was just read.
            if len(found) < count and not os.path.sameopenfile(older.fileno(), self._file.fileno()):
                found = _last_lines(older, count - len(found))[0] + found
        return found

    def more(self) -> list[str]:
        """The lines that were written since the last look."""
        found = self._read()
        if self._rotated():
            found += self._read()  # what was written between the look above and the rotation
            self.close()
            self._open()
            found += self._read()
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _open(self) -> None:
        with suppress(FileNotFoundError):
            self._file = self._path.open("rb")

    def _read(self) -> list[str]:
        if self._file is None:
            return []
        *complete, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line.decode(errors="replace") for line in complete]

    def _rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:  # between the two renames
            return False
        return self._file is None or not os.path.samestat(now, os.fstat(self._file.fileno()))


def _last_lines(file: IO[bytes], count: int) -> tuple[list[str], bytes]:
    """The last complete lines of a file, and the beginning of the one that is being written."""
    start = end = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []
    newlines = 0
    while start > 0 and newlines <= count:
        size = min(BLOCK, start)
        start = file.seek(start - size)
        blocks.append(file.read(size))
        newlines += blocks[-1].count(b"\n")
    *complete, rest = b"".join(reversed(blocks)).split(b"\n")
    file.seek(end)  # what was written meanwhile is for the next look
    return [line.decode(errors="replace") for line in complete[max(0, len(complete) - count) :]], rest
