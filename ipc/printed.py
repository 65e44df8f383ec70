"""What a worker prints: whole lines, each with the request it was printed for.

A worker's standard output and standard error are pipes that its supervisor reads line by line, and a line alone does
not say whose it is. So what Python code prints while a call runs gets a mark in front, which the supervisor takes off
again. What C code and other programs write straight to the pipes gets none. A worker that prints nothing pays nothing.
"""

from __future__ import annotations

import atexit
import sys
import threading
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
"""A longer line is written in pieces of so many characters."""


class Printed(TextIOWrapper):
    """Stands for `sys.stdout` or `sys.stderr`. A thread's line is written when it is whole, and at once."""

    def __init__(self, stream: TextIO, context: Context) -> None:
        super().__init__(cast("TextIOWrapper", stream).buffer, stream.encoding, stream.errors, line_buffering=True)
        self.context = context
        self._begun: dict[int, str] = {}  # lines without an end, by thread

    def write(self, text: str) -> int:
        """See `TextIOBase`; nothing is written before its line has an end."""
        thread = threading.get_ident()
        *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        if rest:
            self._begun[thread] = rest
        if lines:
            mark = self._mark()
            super().write("".join(f"{mark}{line}\n" for line in lines))
        return len(text)

    def finish(self) -> None:
        """The process ends: write the lines that have no end."""
        begun, self._begun = self._begun, {}
        for line in begun.values():
            super().write(f"{line}\n")

    def _mark(self) -> str:
        known = self.context()
        ids = known.get("request_ids") or (known.get("request_id"),)
        told = [str(each) for each in cast("list[object]", ids)[:MOST] if each]
        return f"{BEGIN}{BETWEEN.join(told)}{END}" if told else ""


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
