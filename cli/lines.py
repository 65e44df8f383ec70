"""One line of a log, as it is stored and as a person reads it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ipc.decoding.jsontext import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

_LEVELS = {
    "debug": "dim",
    "stdout": "dim",
    "stderr": "dim",
    "warning": "yellow",
    "error": "bold red",
    "critical": "bold red",
}
_WORKER_COLOURS = ("cyan", "magenta", "blue", "green")
_LEADING = ("time", "level", "group", "worker", "event", "stream")
_END_OF_TIME = 250e9
"""In the year 9892: clocks end with 9999."""
_MAX_LEVEL = 12
_BELOW = ("traceback", "stack", "last_words")
"""Fields of several lines: they stand below, with a margin."""


def moment(said: Mapping[str, Any]) -> float | None:
    """When it was written, Unix seconds; None if it does not say, or no clock can show it."""
    match said.get("time"):
        case bool():
            return None
        case int() | float() as seconds:
            return float(seconds) if 0 <= seconds <= _END_OF_TIME else None
        case str() as text:
            return iso(text)
        case _:
            return None


def iso(text: str) -> float | None:
    """The moment that is written so, Unix seconds; None if none is."""
    try:
        seconds = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds <= _END_OF_TIME else None


def pretty(raw: str) -> Text:
    """The line for a terminal: time, level, worker, event or text, then all other fields."""
    from rich.text import Text  # noqa: PLC0415 -- slow to import, and only a terminal needs it

    from supervisor.errors import printable  # noqa: PLC0415 -- as above

    said = json_object(raw)
    if said is None:
        return Text(printable(raw), style="dim")
    level = printable("".join(str(said.get("level") or said.get("stream", "")).split()[:1]))[:_MAX_LEVEL]
    worker = printable(str(said.get("worker") or said.get("group", "")))
    what = "event" if "event" in said else "text"
    first, *rest = str(said.get(what, "")).split("\n")
    line = Text.assemble(
        (clock(moment(said)), "dim"),
        (f" {level:<7} ", _LEVELS.get(level, "")),
        (f"{worker:<14} ", worker_colour(worker)),
        (printable(first), "red" if level in {"error", "critical"} else ""),
    )
    for name, value in said.items():
        if name == "trace" and said.get("request_id") and str(said["request_id"]) in str(value):
            continue  # it says the same again
        if name not in _LEADING and name != what and name not in _BELOW and value not in (None, ""):
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            shown, *more = shown.split("\n")
            rest += more
            line.append(f" {printable(name)}=", "dim").append(printable(shown))
    for below in chain(rest, *(_lines(said.get(name)) for name in _BELOW)):
        line.append(f"\n    {printable(below)}", "dim")
    return line


def inert(text: str) -> str:
    """JSON in which no character does something to a terminal: it is escaped, which says the same."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _lines(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else str(value or "").rstrip().splitlines()


def clock(when: float | None) -> str:
    """The time of day; with its date if that is another one than today's."""
    if when is None:
        return " " * 12
    local = datetime.fromtimestamp(when).astimezone()
    shown = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"
    return shown if time.localtime()[:3] == local.timetuple()[:3] else f"{local:%Y-%m-%d} {shown}"


def worker_colour(worker: str) -> str:
    """The colour of a worker's group: the same wherever it is shown."""
    group = worker.rpartition("-")[0] or worker
    return _WORKER_COLOURS[crc32(group.encode()) % len(_WORKER_COLOURS)]
