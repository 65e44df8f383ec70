"""What a worker prints: whole lines, each with the request it was printed for.

A worker's standard output and standard error are pipes that its supervisor reads line by line, and a line alone does
not say whose it is. So what Python code prints while a call runs gets a mark in front, which the supervisor takes off
again. What C code and other programs write straight to the pipes gets none. A worker that prints nothing pays nothing.
"""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Context: TypeAlias = Callable[[], Mapping[str, object]]

BEGIN, BETWEEN, END = "\x1e", "\x1d", "\x1f"
"""A mark: the first, the requests' ids with the second between them, the third."""
MOST = 64
"""So many requests of a batch are named in front of a line."""
MAX_LINE = 16_384
"""A longer line is written in pieces of so many bytes, so that each has its mark: the supervisor cuts at twice that."""
_SURELY_SHORT = MAX_LINE // 6
unended: dict[tuple[int, Printed], tuple[str, str]] = {}
"""Lines without an end, by thread and stream, each after its mark. If there are none a call's end has nothing to do."""


class Printed(TextIOWrapper):
    """Stands for `sys.stdout` or `sys.stderr`. A thread's line is written when it is whole, and at once.

    Calls take turns in a thread, and tasks within a line: one that is not whole is written, too, before another call's.
    """

    def __init__(self, stream: TextIO, context: Context) -> None:
        super().__init__(cast("TextIOWrapper", stream).buffer, stream.encoding, stream.errors, line_buffering=True)
        self.context = context

    def write(self, text: str) -> int:
        """See `TextIOBase`; nothing is written before its line has an end."""
        key, mark = (threading.get_ident(), self), self.mark()
        whose, begun = unended.pop(key, (mark, ""))
        if whose != mark:
            super().write(f"{whose}{begun}\n")
            begun = ""
        *lines, rest = (begun + text).split("\n")
        *long, rest = _cut(rest)
        if rest:
            unended[key] = mark, rest
        if pieces := [piece for line in lines for piece in _cut(line)] + long:
            super().write("".join(f"{mark}{piece}\n" for piece in pieces))
        return len(text)

    def finish(self) -> None:
        """The process ends: write the lines that have no end."""
        for key in [key for key in list(unended) if key[1] is self]:
            mark, line = unended.pop(key)
            super().write(f"{mark}{line}\n")

    def end_line(self, thread: int) -> None:
        """The call at hand is over: write what it has begun in this thread."""
        mark, line = unended.get((thread, self), ("", ""))
        if line and mark == self.mark():
            del unended[thread, self]
            super().write(f"{mark}{line}\n")

    def mark(self) -> str:
        """What stands in front of what is printed now."""
        known = self.context()
        ids = known.get("request_ids") or (known.get("request_id"),)
        told = [str(each) for each in cast("list[object]", ids)[:MOST] if each]
        return f"{BEGIN}{BETWEEN.join(told)}{END}" if told else ""


def end_lines() -> None:
    """The call at hand is over in this thread: nobody else's words may follow its own. Never raises."""
    here = threading.get_ident()
    for thread, stream in list(unended):
        if thread == here:
            with suppress(OSError, ValueError):  # somebody has closed it
                stream.end_line(thread)


def _cut(line: str) -> list[str]:
    if len(line) <= _SURELY_SHORT:
        return [line]
    data, at, pieces = line.encode("utf-8", "backslashreplace"), 0, []
    while len(data) - at > MAX_LINE:
        piece = data[at : at + MAX_LINE].decode("utf-8", "ignore")  # without the half of a character at its end
        pieces.append(piece)
        at += len(piece.encode())
    return [*pieces, data[at:].decode()]


def stamp(context: Context) -> None:
    """From now on what is printed says for which request that `context` knows."""
    sys.stdout, sys.stderr = (_stamped(stream, context) for stream in (sys.stdout, sys.stderr))


def _stamped(stream: TextIO, context: Context) -> TextIO:
    if isinstance(stream, Printed):  # in a worker that was forked: others may hold this one
        stream.context = context
        return stream
    printed = Printed(stream, context)
    atexit.register(printed.finish)
    return printed
