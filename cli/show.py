"""What happens to the service, as it happens: readable lines in a terminal, JSON lines anywhere else."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec
from rich.text import Text

from cli.lines import clock, fields, pretty, worker_colour
from cli.output import out
from supervisor import events
from supervisor.errors import printable
from supervisor.logbook import entry

if TYPE_CHECKING:
    from rich.console import RenderableType

    from supervisor.events import Event

Level: TypeAlias = Literal["info", "warning", "error"]

_NAMES = {re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(events.Event)}
_NAME_OF = {kind: name for name, kind in _NAMES.items()}
_QUIET = (events.GroupStarting, events.WorkerSpawned, events.GroupUp)
"""Told to programs only: people see the same from what comes next."""
_SAID_BY_US = {"ready"}
"""What workers write down and the supervisor tells people as well."""
_COLOURS = {"info": "", "warning": "yellow", "error": "bold red"}


def level(event: Event) -> Level:
    """How bad it is."""
    match event:
        case events.WorkerFailed() | events.GroupFailed() | events.Trouble():
            return "error"
        case events.WorkerExited(expected=False):
            return "error"
        case events.WorkerRestarting() | events.WorkerExposed() | events.LinesLost():
            return "warning"
        case _:
            return "info"


def address(event: events.Serving) -> str:
    """The URL that is served; empty if no web group runs."""
    host = f"[{event.host}]" if ":" in event.host else event.host
    return f"http://{host}:{event.port}" if event.port else ""


class JsonLines:
    """One JSON object for each event, in the form that the workers' own lines have in their files."""

    def __init__(self, *, workers_too: bool) -> None:
        self._workers_too = workers_too

    def __call__(self, event: Event) -> None:
        """Write it."""
        if isinstance(event, events.LineWritten):
            line = _kept(event) if self._workers_too else ""
        else:
            line = to_json(event, datetime.now(UTC)) + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()


def to_json(event: Event, now: datetime) -> str:
    """The event as a line of a log."""
    said = {name: value for name, value in asdict(event).items() if value not in ("", ())}
    if said.get("expected"):
        said.pop("last_words", None)  # nobody looks for a cause
    worker = said.pop("worker", "")
    head = {
        "time": now,
        "level": level(event),
        **({"worker": worker} if worker else {}),
        "event": _NAME_OF[type(event)],
    }
    said |= {name: round(value, 3) for name, value in said.items() if isinstance(value, float)}
    if isinstance(event, events.Serving) and event.port:
        said["url"] = address(event)
    return msgspec.json.encode({**head, **said}).decode()


def from_json(raw: str) -> Event | None:
    """The event that `to_json` wrote; None for any other line."""
    said = fields(raw) or {}
    kind = _NAMES.get(str(said.get("event")))
    if kind is None:
        return None
    try:
        event: Event = msgspec.convert(said, kind)
    except msgspec.ValidationError:
        return None
    return event


def _kept(event: events.LineWritten) -> str:
    """What a worker wrote, as it stands in its group's file."""
    return entry(event.worker, event.stream, event.text, datetime.now(UTC)).decode()


class Terminal:
    """A line for each event that people want to know of, and the workers' own lines made readable."""

    def __init__(self, *, attached: bool, title: RenderableType | None = None) -> None:
        self._attached = attached
        """Whether Ctrl-C reaches the service, and the workers' lines were shown as they came."""
        self._title = title
        """What stands above the first event: nothing does if there is none, for then nothing was started."""

    def __call__(self, event: Event) -> None:
        """Print it."""
        if self._title is not None:
            out.print(self._title)
            self._title = None
        match event:
            case events.LineWritten():
                if (fields(event.text) or {}).get("event") not in _SAID_BY_US:
                    out.print(pretty(_kept(event)), soft_wrap=True)
            case events.Serving():
                out.print(_serving(event, attached=self._attached), soft_wrap=True)
            case events.Draining(forced):
                what = "stopping at once" if forced else "draining: calls under way are finished; Ctrl-C now ends them"
                # On a line of its own: the terminal has just written ^C.
                out.print("\n", _line(what, "yellow"), sep="", soft_wrap=True)
            case _ if not isinstance(event, _QUIET):
                out.print(self._told(event), soft_wrap=True)

    def _told(self, event: Event) -> Text:
        colour = "green" if isinstance(event, events.WorkerReady) else _COLOURS[level(event)]
        who = getattr(event, "worker", "") or getattr(event, "group", "")
        line = _line(str(event).removeprefix(f"{who}: "), colour, who)
        if isinstance(event, events.WorkerExited) and not event.expected:
            below = event.traceback.rstrip().splitlines() or (() if self._attached else event.last_words)
            for text in below:
                line.append(f"\n    {printable(text)}", "dim")
        return line


def _line(what: str, colour: str, who: str = "") -> Text:
    # As wide as a worker's own line with its level, so that the columns stand below each other.
    return Text.assemble(
        (clock(time.time()), "dim"), " " * 9, (f"{who:<14} ", worker_colour(who)), (printable(what), colour)
    )


def _serving(event: events.Serving, *, attached: bool) -> Text:
    url = address(event)
    where = Text.assemble(" on ", (url, "bold underline")) if url else Text()
    hint = "; Ctrl-C drains and stops" if attached else ""
    return Text.assemble(("\n  Serving", "bold green"), where, f" after {event.seconds:.1f} s{hint}\n")
