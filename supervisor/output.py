"""What a child writes, line by line: bounded, safe to show, and no more at a time than its share."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ipc.printed import BEGIN, BETWEEN, END
from supervisor.blocks import Blocks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from supervisor.events import Stream

MAX_LINE = 32_768
"""A longer line is told in pieces of so many bytes."""
SHARE = 64
"""So many lines of one pipe are read and told in one turn; then all others have theirs."""
PAUSE = 0.005
"""How long a pipe with more than its share is left alone, seconds. It fills, and whoever writes to it waits."""
HOLD = 0.5
"""How long a traceback waits for its next line, seconds."""
LAST_LINES, LAST_BYTES = 1_024, 256 * 1024
"""So much of what an ended process has left in its pipe is told: the last of it. All in one turn, before its end is:
each line takes some 10 microseconds, and several times that while other threads write down what was told before."""
_CHUNK = 16_384
_AT_THE_END = 1024 * 1024
"""As many bytes, a full pipe, are still read once it has ended: a grandchild may hold the pipe and go on writing."""
# Tab is harmless. The others move a terminal's cursor, or end a line where there is none.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_BEGIN, _END = BEGIN.encode(), END.encode()


Piece: TypeAlias = tuple[bytes, bool]
"""A line, or a part of a long one; and whether it ends there."""


class Line(NamedTuple):
    """One line, and the requests for which it was written if it says so."""

    text: str
    requests: tuple[str, ...] = ()


class Lines:
    """Bytes in, lines of text out; at most `limit` bytes wait for the end of theirs."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""
        self._carried: tuple[str, ...] | None = None  # the requests of a line of which a piece was told

    def feed(self, data: bytes) -> list[Line]:
        """Take what was written; returns the lines it completes."""
        return [self.read(piece) for piece in self.cut(data)]

    def end(self) -> list[Line]:
        """Nothing more comes; returns the last line if it had no end."""
        return [self.read(piece) for piece in self.rest()]

    def cut(self, data: bytes) -> list[Piece]:
        """Take what was written; returns what it completes, to be read in this order. This is cheap; reading is not."""
        *whole, rest = (self._rest + data).split(b"\n")
        limit = self._limit
        pieces: list[Piece] = []
        for line in whole:
            if len(line) <= limit:
                pieces.append((line, True))
            else:
                pieces += self._pieces(line, ended=True)
        *long, (self._rest, _) = self._pieces(rest, ended=False)
        return pieces + long

    def rest(self) -> list[Piece]:
        """Nothing more comes; returns the last line if it had no end."""
        rest, self._rest = self._rest, b""
        return [(rest, True)] if rest else []

    def read(self, piece: Piece) -> Line:
        """A piece as it is told."""
        line, ended = self._read(piece[0]), piece[1]
        self._carried = None if ended else line.requests
        return line

    def _pieces(self, line: bytes, *, ended: bool) -> list[Piece]:
        cut = [(line[at : at + self._limit], False) for at in range(0, len(line), self._limit)] or [(line, False)]
        return [*cut[:-1], (cut[-1][0], ended)]

    def _read(self, piece: bytes) -> Line:
        """Only the first piece of a line can have a mark; the others are for the same requests."""
        requests = self._carried or ()
        if self._carried is None and piece.startswith(_BEGIN):
            mark, found, rest = piece[1:].partition(_END)
            if found:
                piece, requests = rest, tuple(map(_readable, mark.split(BETWEEN.encode())))
        return Line(_readable(piece), requests)


def _readable(line: bytes) -> str:
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.translate(_CONTROLS)


class Output:
    """One pipe of one child, read as long as there is something; who writes more than its share waits for that.

    A traceback on standard error is told as one text of several lines.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, stream: Stream, on_line: Callable[[Stream, Line], None]
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._stream: Stream = stream
        self._on_line = on_line
        self._lines = Lines()
        self._untold: deque[Piece] = deque()  # what is left of a chunk
        self._blocks = Blocks()
        self._requests: tuple[str, ...] = ()  # of the block
        self._pausing: asyncio.TimerHandle | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._until = 0.0
        loop.add_reader(fd, self._turn)

    def finish(self) -> None:
        """The process has ended: tell the last of what it left behind, and close."""
        left, size = [], 0
        while size < _AT_THE_END and (data := self._take(_AT_THE_END - size)):
            left.append(data)
            size += len(data)
        missed, kept = last_lines(b"".join(left), LAST_LINES, LAST_BYTES)
        if missed:
            missed += len(self._untold)
            self._untold.clear()
            self._lines = Lines()
            told = f"({missed} lines were left out here: their writer ended before they were read)"
            self._untold.append((told.encode(), True))
        self._untold.extend(self._lines.cut(kept))
        self._close()

    def _turn(self) -> None:
        """Tell no more than its share; if there is more, have it wait."""
        data = b""
        if not self._untold:
            found = self._take(_CHUNK)
            if found is None:
                return
            if not found:
                self._close()
                return
            data = found
            self._untold.extend(self._lines.cut(data))
        self._tell(SHARE)
        if self._untold or len(data) == _CHUNK:
            self._loop.remove_reader(self._fd)
            self._pausing = self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._fd, self._turn)
        self._turn()

    def _take(self, most: int) -> bytes | None:
        """What is in the pipe; empty if nobody can write to it any more, None if there is nothing now."""
        if self._fd < 0:
            return b""
        try:
            return os.read(self._fd, most)
        except BlockingIOError:
            return None

    def _tell(self, most: int) -> None:
        for _ in range(min(most, len(self._untold))):
            line = self._lines.read(self._untold.popleft())
            if self._stream == "stdout":
                self._on_line("stdout", line)
                continue
            if line.requests != self._requests:
                self._tell_block()
            self._requests = line.requests
            for text in self._blocks.feed(line.text):
                self._on_line("stderr", Line(text, line.requests))
        if self._blocks.holds:
            self._until = self._loop.time() + HOLD
            if self._holding is None:
                self._holding = self._loop.call_later(HOLD, self._hold)

    def _hold(self) -> None:
        """It has waited: that is enough, unless it has got lines meanwhile."""
        self._holding = None
        if self._loop.time() < self._until:
            self._holding = self._loop.call_at(self._until, self._hold)
        else:
            self._tell_block()

    def _tell_block(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        for text in self._blocks.end():
            self._on_line("stderr", Line(text, self._requests))

    def _close(self) -> None:
        if self._fd < 0:
            return
        if self._pausing is not None:
            self._pausing.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._untold.extend(self._lines.rest())
        self._tell(len(self._untold))
        self._tell_block()


def last_lines(data: bytes, most: int, size: int) -> tuple[int, bytes]:
    """How many lines stand before the last ones, and those, with what is left of one without an end.

    At most so many, and so many bytes. A line that is longer counts among the first, and its end among the last.
    """
    before = 0
    if (too_many := len(data) - size) > 0:
        end = data.find(b"\n", too_many - 1, -1)
        begin = too_many if end < 0 else end + 1
        before = data.count(b"\n", 0, begin) + (end < 0)
        data = data[begin:]
    early, *late = data.rsplit(b"\n", most + 1)
    return (before + early.count(b"\n") + 1, b"\n".join(late)) if len(late) > most else (before, data)
