"""What happened to the service, as lines of JSON: how events are kept, and told to programs.

    {"time": "2026-03-01T12:00:00Z", "level": "error", "worker": "web-0#1", "event": "worker_exited", ...}

`event` is the name of the event's type, the rest are its fields; what is empty is left out.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec

from ipc.decoding.jsontext import json_object
from supervisor import events

if TYPE_CHECKING:
    from datetime import datetime

    from supervisor.events import Event

Level: TypeAlias = Literal["info", "warning", "error"]

_NAMES = {re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(events.Event)}
_NAME_OF = {kind: name for name, kind in _NAMES.items()}


def level(event: Event) -> Level:
    """How bad it is."""
    match event:
        case events.WorkerFailed() | events.GroupFailed() | events.NotReloaded() | events.Trouble():
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


def to_json(event: Event, now: datetime) -> str:
    """The event as a line of a log."""
    said = {name: value for name, value in asdict(event).items() if value not in ("", ())}
    if said.get("expected"):
        said.pop("last_words", None)  # nobody looks for a cause
    worker = said.pop("worker", "")
    group = said.pop("group", "") or worker.partition("-")[0]
    head = {
        "time": now,
        "level": level(event),
        **({"group": group} if group else {}),
        **({"worker": worker} if worker else {}),
        "event": _NAME_OF[type(event)],
    }
    said |= {name: round(value, 3) for name, value in said.items() if isinstance(value, float)}
    if isinstance(event, events.Serving) and event.port:
        said["url"] = address(event)
    return msgspec.json.encode({**head, **said}).decode()


def from_json(raw: str) -> Event | None:
    """The event that `to_json` wrote; None for any other line."""
    said = json_object(raw) or {}
    kind = _NAMES.get(str(said.get("event")))
    if kind is None:
        return None
    try:
        event: Event = msgspec.convert(said, kind)
    except msgspec.ValidationError:
        return None
    return event
