"""Which lines of the logs somebody wants to see. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.lines import iso, moment
from ipc.decoding.jsontext import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN = "supervisor"
"""The log of what happened; its lines are about other groups."""
LEVELS = ("debug", "info", "warning", "error")
_FAILURES = ("Traceback (most recent call last):", "Fatal Python error: ")
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that is said here must be so; what is empty does not matter."""

    group: str = ""
    worker: str = ""
    """A worker's name with or without its incarnation: `cpu-0#7`, `cpu-0`."""
    level: str = ""
    """At least so bad."""
    text: str = ""
    """These characters, in this order, somewhere: no pattern, so nothing that could take for ever."""
    request: str = ""
    since: float = 0.0
    """Not written before, Unix seconds."""

    def admits(self, raw: str) -> bool:
        """Whether a line of a log is one of them."""
        if self.request and self.request not in raw:
            return False  # without a look at what it says: most lines are none of this request
        said = json_object(raw) or {}
        return (
            (self.group in {"", OWN} or not said or _group(said) == self.group)
            and (not self.worker or self._is_of(str(said.get("worker", ""))))
            and (not self.level or LEVELS.index(level_of(said)) >= LEVELS.index(self.level))
            and (not self.request or self.request in _requests(said))
            and (not self.text or self.text in raw or any(self.text in str(value) for value in said.values()))
            and (moment(said) or self.since) >= self.since
        )

    def _is_of(self, worker: str) -> bool:
        return worker == self.worker or worker.partition("#")[0] == self.worker


def level_of(said: Mapping[str, Any]) -> str:
    """How bad a line is. Who says nothing of it and writes to standard error warns; a traceback is an error."""
    told = str(said.get("level", "")).lower()
    if told in LEVELS:
        return told
    if told in {"critical", "fatal"} or str(said.get("text", "")).startswith(_FAILURES):
        return "error"
    return "warning" if said.get("stream") == "stderr" or told == "warn" else "info"


def since(text: str, now: float) -> float | None:
    """`10m`, `1.5h`: so long ago; or a moment as ISO 8601 has it. Unix seconds; None if it is neither."""
    if found := _AGO.fullmatch(text):
        return now - float(found[1]) * _UNITS[found[2]]
    return iso(text)


def _group(said: Mapping[str, Any]) -> str:
    return str(said.get("group") or str(said.get("worker", "")).partition("-")[0])


def _requests(said: Mapping[str, Any]) -> tuple[str, ...]:
    several = said.get("request_ids")
    return (str(said.get("request_id", "")), *(map(str, several) if isinstance(several, list) else ()))
