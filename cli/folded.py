"""A path or a dotted name in a column: where it does not fit it goes on below, between two of its parts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions

_PART = re.compile(r"[/.:_-]*[^/.:_ -]+ ?|[/.:_ -]+")


class Folded:
    """One cell of a table."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        longest = max((len(part.rstrip()) for part in _PART.findall(self._text)), default=0)
        return Measurement(longest, len(self._text)).with_maximum(options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in folded(self._text, options.max_width):
            yield Text(line, no_wrap=True, overflow="fold")


def folded(text: str, width: int) -> list[str]:
    """The text in lines of at most so many characters; a part that is longer is cut."""
    lines = [""]
    for part in _PART.findall(text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]
