"""The end of one log that grows and is rotated: `x.log`, and for what was in it before `x.log.1`, `x.log.2`, ..."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from itertools import chain
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 64 * 1024
MOST_FILES = 1_000
"""No more older files are looked for."""

_Mark: TypeAlias = tuple[int, int, int, int]
"""A file that does not change any more. Its number alone may be that of another one by now."""


class Tail:
    """First the lines that are there, the last one first, then those that come; no line twice, none left out.

    (Unless the file is rotated so often between two looks that one of them is gone before it was read.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._seen: set[_Mark] = set()
        """The older files when the current one was opened."""

    def past(self) -> Iterator[str]:
        """The lines up to now, the last one first; `more` goes on from here, even if none of them is taken."""
        lines = self._past()
        return lines if (first := next(lines, None)) is None else chain((first,), lines)

    def _past(self) -> Iterator[str]:
        self._file = _open(self._path)
        with ExitStack() as stack:
            older = [stack.enter_context(file) for file in self._older()]
            self._seen = {_mark(file) for file in older}
            if self._file is not None:
                end = self._file.seek(0, os.SEEK_END)
                lines = _backwards(self._file, end)
                self._rest = next(lines, b"")
                yield from map(_text, lines)
            for file in older:
                lines = _backwards(file, os.fstat(file.fileno()).st_size)
                if rest := next(lines, b""):  # nobody will write its end
                    yield _text(rest)
                yield from map(_text, lines)

    def last(self, count: int) -> list[str]:
        """The last lines up to now."""
        return [line for line, _ in zip(self.past(), range(count), strict=False)][::-1]

    def more(self) -> list[str]:
        """The lines that were written since the last look."""
        found = self._read()
        if not self._rotated():
            return found
        found += self._read()  # what was written between the look above and the rotation
        if self._rest:  # nobody will write its end
            found.append(_text(self._rest))
        before, self._file = self._file, _open(self._path)
        with ExitStack() as stack:
            if before is not None:
                stack.enter_context(before)
            older = [stack.enter_context(file) for file in self._older(before)]
            for file in reversed(older):  # those that were the current one, but at none of our looks
                if _mark(file) not in self._seen:
                    found += self._read(file)
            self._seen |= {_mark(file) for file in ([before] if before is not None else []) + older}
        self._rest = b""
        return found + self._read()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _older(self, until: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
        """The older files, the youngest first; those that are younger than `until` if that is one of them."""
        found = [] if self._file is None else [self._file]
        for age in range(1, MOST_FILES):
            file = _open(self._path.with_name(f"{self._path.name}.{age}"))
            if file is None:
                return
            if until is not None and os.path.sameopenfile(file.fileno(), until.fileno()):
                file.close()
                return
            if any(os.path.sameopenfile(file.fileno(), each.fileno()) for each in found):
                file.close()  # rotated since we opened it: we have it already
                continue
            found.append(file)
            yield file

    def _read(self, file: IO[bytes] | None = None) -> list[str]:
        if file is not None:
            return [_text(line) for line in file.read().removesuffix(b"\n").split(b"\n")]
        if self._file is None:
            return []
        *complete, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [_text(line) for line in complete]

    def _rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:  # between two renames, or taken away
            return False
        return self._file is None or not os.path.samestat(now, os.fstat(self._file.fileno()))


def _open(path: Path) -> IO[bytes] | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.open("rb")
    return None


def _mark(file: IO[bytes]) -> _Mark:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _backwards(file: IO[bytes], end: int) -> Iterator[bytes]:
    """What stands after the last newline, then the lines before it, the last one first. Leaves the position alone."""
    rest, at = b"", end
    while at > 0:
        size = min(BLOCK, at)
        at -= size
        rest, *lines = (os.pread(file.fileno(), size, at) + rest).split(b"\n")
        yield from reversed(lines)
    yield rest


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
