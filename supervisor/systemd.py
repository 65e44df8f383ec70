"""What systemd is told: that the service is ready, how it stands, that it lives. Without systemd nothing is.

It hears events, so whoever tells of a reload has told systemd of it. A socket that is gone costs the service nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from sdnotify import SystemdNotifier

from supervisor import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.events import Event
    from supervisor.group import Group
    from supervisor.tree import Tree

EXTENSION = 30.0
"""How much longer a start or a reload may take each time that systemd hears of it, seconds."""
HEARTBEAT = 10.0
"""The longest pause between two messages while it takes, seconds."""
LONGEST_STATUS = 1000
"""Characters of the status line: a message that is too long is not sent at all."""
_STARTING, _RELOADING, _DRAINING = "starting", "reloading", "draining"
_EXTENDED = frozenset({_STARTING, _RELOADING})
"""What may take longer than the unit says; how long workers may take is for the configuration to say."""


class Systemd:
    """Speaks for process `pid`, whose environment is `environ`, and for the groups of `tree`."""

    def __init__(self, environ: Mapping[str, str], pid: int, tree: Tree) -> None:
        self._tree = tree
        self._said = ""
        self._under_way = _STARTING
        self._pause = watchdog_pause(environ, pid)
        self._notifier = SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.setblocking(False)  # the library's waits for a reader, and this loop must not

    def hear(self, event: Event) -> None:
        """Something happened."""
        if self._notifier is None:
            return
        match event:
            case events.LineWritten():
                pass
            case events.Draining():
                self._begin(_DRAINING, "STOPPING=1")
            case _ if self._under_way == _DRAINING:
                self._follow()
            case events.Serving() | events.Reloaded():
                self._begin("", "READY=1")
            case events.Reloading():
                # From which moment on: so systemd knows the reload that it has asked for from an earlier one.
                self._begin(_RELOADING, "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            case events.NotReloaded():
                self._begin("not reloaded", "READY=1")
            case _:
                self._follow()

    async def beat(self) -> None:
        """Be heard again and again, until cancelled."""
        if self._notifier is None:
            return
        while True:
            if self._under_way in _EXTENDED:
                self._say(f"EXTEND_TIMEOUT_USEC={_usec(EXTENSION)}")
            if self._pause is not None and is_well(self._tree.groups):
                self._say("WATCHDOG=1")
            await anyio.sleep(min(HEARTBEAT, self._pause or HEARTBEAT))

    def close(self) -> None:
        """There is nothing more to say."""
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()

    def _begin(self, what: str, *lines: str) -> None:
        self._under_way = what
        self._say(*lines, self._status())

    def _follow(self) -> None:
        """Keep the status line true, without saying the same again."""
        if (line := self._status()) != self._said:
            self._say(line)

    def _status(self) -> str:
        phase = f"{self._under_way}: " if self._under_way else ""
        return f"STATUS={phase}{in_brief(self._tree.groups)}"[:LONGEST_STATUS]

    def _say(self, *lines: str) -> None:
        self._said = next((line for line in lines if line.startswith("STATUS=")), self._said)
        if self._notifier is not None:
            self._notifier.notify("\n".join(lines))


def in_brief(groups: Sequence[Group]) -> str:
    """How many workers serve, and how many should: `cpu_sync 4/4, web 2/2`."""
    return ", ".join(f"{group.name} {sum(map(group.seats, group.everybody()))}/{group.size}" for group in groups)


def is_well(groups: Sequence[Group]) -> bool:
    """Whether somebody serves or may yet: what has given up in every group is better begun anew."""
    return any(group.state != "failed" for group in groups)


def watchdog_pause(environ: Mapping[str, str], pid: int) -> float | None:
    """How often systemd is to hear that this process lives, half of what it would wait; None if it does not wait."""
    usec = environ.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or int(usec) == 0 or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(usec) / 2e6


def _usec(seconds: float) -> int:
    return round(seconds * 1e6)
