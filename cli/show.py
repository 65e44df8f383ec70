"""What happens to the service, as it happens: readable lines in a terminal, JSON lines anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from cli.lines import clock, pretty, worker_colour
from cli.output import out
from ipc.decoding.jsontext import json_object
from supervisor import events
from supervisor.chronicle import address, level, to_json
from supervisor.errors import printable
from supervisor.logbook import entry

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import RenderableType

    from supervisor.events import Event

_QUIET = (events.GroupStarting, events.WorkerSpawned, events.GroupUp)
"""Told to programs only: people see the same from what comes next."""
_SAID_BY_US = {"ready"}
"""What workers write down and the supervisor tells people as well."""
_COLOURS = {"info": "", "warning": "yellow", "error": "bold red"}


class JsonLines:
    """One JSON object for each event, in the form in which they are kept."""

    def __call__(self, event: Event, when: datetime) -> None:
        """Write it."""
        kept = entry(event, when).decode() if isinstance(event, events.LineWritten) else f"{to_json(event, when)}\n"
        sys.stdout.write(kept)
        sys.stdout.flush()


class Terminal:
    """A line for each event that people want to know of, and the workers' own lines made readable."""

    def __init__(self, *, attached: bool, title: RenderableType | None = None, patience: float | None = None) -> None:
        self._attached = attached
        """Whether Ctrl-C reaches the service, and the workers' lines were shown as they came."""
        self._patience = patience
        """How long calls under way have when the service is told to stop, seconds."""
        self._title = title
        """What stands above the first event: nothing does if there is none, for then nothing was started."""

    def __call__(self, event: Event, when: datetime) -> None:
        """Print it."""
        if self._title is not None:
            out.print(self._title)
            self._title = None
        match event:
            case events.LineWritten():
                if (json_object(event.text) or {}).get("event") not in _SAID_BY_US:
                    out.print(pretty(entry(event, when).decode()), soft_wrap=True)
            case events.Serving():
                out.print(_serving(event, attached=self._attached), soft_wrap=True)
            case events.Draining(forced):
                time = "are finished" if self._patience is None else f"have {self._patience:g} s to finish"
                what = "stopping at once" if forced else f"draining: calls under way {time}; Ctrl-C now ends them"
                # On a line of its own: the terminal has just written ^C.
                out.print("\n", _line(when.timestamp(), what, "yellow"), sep="", soft_wrap=True)
            case _ if not isinstance(event, _QUIET):
                out.print(self._told(event, when), soft_wrap=True)

    def _told(self, event: Event, when: datetime) -> Text:
        return told(event, when.timestamp(), last_words=not self._attached)


def told(event: Event, when: float, *, last_words: bool = True) -> Text:
    """A line for a person, and below it what a worker that died said of it."""
    colour = "green" if isinstance(event, events.WorkerReady) else _COLOURS[level(event)]
    who = getattr(event, "worker", "") or getattr(event, "group", "")
    what, *more = str(event).removeprefix(f"{who}: ").splitlines() or [""]
    line = _line(when, what, colour, who)
    for text in more:
        line.append(f"\n    {printable(text)}", colour if isinstance(event, events.NotReloaded) else "dim")
    if isinstance(event, events.WorkerExited) and not event.expected:
        below = event.traceback.rstrip().splitlines() or (event.last_words if last_words else ())
        for text in below:
            line.append(f"\n    {printable(text)}", "dim")
    return line


def _line(when: float, what: str, colour: str, who: str = "") -> Text:
    # As wide as a worker's own line with its level, so that the columns stand below each other.
    return Text.assemble((clock(when), "dim"), " " * 9, (f"{who:<14} ", worker_colour(who)), (printable(what), colour))


def _serving(event: events.Serving, *, attached: bool) -> Text:
    url = address(event)
    where = Text.assemble(" on ", (url, "bold underline")) if url else Text()
    hint = "; Ctrl-C drains and stops" if attached else ""
    return Text.assemble(("\n  Serving", "bold green"), where, f" after {event.seconds:.1f} s{hint}\n")
