"""What belongs together in what a program writes to its standard error: the lines of a traceback are one. Pure."""

from __future__ import annotations

import re

MAX_BLOCK = 65_536
"""A block of more characters is told in pieces."""
_OPENS = re.compile(
    r"Traceback \(most recent call last\):|\s+\+ Exception Group Traceback|Exception (in thread|ignored in)"
    r"|Fatal Python error: |(Current thread|Thread) 0x|Stack \(most recent call"
)
_BETWEEN = re.compile(r"During handling of the above exception|The above exception was the direct cause")
_DUMPED = re.compile(r"Fatal Python error: |(Current thread|Thread) 0x|Stack \(most recent call|Extension modules: ")


class Blocks:
    """Lines in, blocks out: single lines, and tracebacks with their lines joined by newlines."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._size = 0
        self._open = False  # whether the line that names the error is still to come
        self._dump = False  # what `faulthandler` writes names none

    @property
    def holds(self) -> bool:
        """Whether a block has begun that may go on."""
        return bool(self._held)

    def feed(self, line: str) -> list[str]:
        """One more line; returns what is complete with it."""
        if not self._held:
            if _OPENS.match(line) is None:
                return [line]
            self._begin(line)
            return []
        if self._belongs(line) and self._size + len(line) < MAX_BLOCK:
            self._held.append(line)
            self._size += len(line) + 1
            return []
        return [*self.end(), *self.feed(line)]

    def end(self) -> list[str]:
        """Nothing more comes that belongs to it; returns the block, and the empty lines that stood behind it."""
        block, self._held = self._held, []
        empty = 0
        while block and not block[-1]:
            block.pop()
            empty += 1
        return ["\n".join(block), *[""] * empty] if block else [""] * empty

    def _begin(self, line: str) -> None:
        self._held, self._size = [line], len(line)
        self._dump = _DUMPED.match(line) is not None
        self._open = True

    def _belongs(self, line: str) -> bool:
        if not line or line[0] in " \t":
            return True
        if self._dump:
            return _DUMPED.match(line) is not None
        if _BETWEEN.match(line) or (_OPENS.match(line) and self._may_go_on()):
            self._open = True
            return True
        named, self._open = self._open and not self._held[-1].lstrip().startswith(("|", "+")), False
        return named

    def _may_go_on(self) -> bool:
        """Whether another traceback here is part of the same story."""
        told = next((line for line in reversed(self._held) if line), "")
        return self._open or _BETWEEN.match(told) is not None
