"""The last of what happened, in memory, and the backlogs of those who are told of what comes. Never waits for them."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import anyio

from supervisor.chronicle import to_json
from supervisor.events import LineWritten, Trouble, WorkerExited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.events import Event

MAX_KEPT = 256
"""Events that are kept."""
MAX_BEHIND = 256
"""Events that may wait for one who listens; then the oldest make room, and are counted."""
MAX_EVENT = 16 * 1024
"""Characters of one event as a line; longer ones lose tracebacks and last words first."""
_MAX_TOLD = 4 * 1024
_MAX_WORD = 256


class Recent:
    """Hears every event, as a hook."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=MAX_KEPT)
        self._backlogs: list[Backlog] = []

    def hear(self, event: Event) -> None:
        """Keep it, and put it before everybody who listens. What workers write is no event."""
        if isinstance(event, LineWritten):
            return
        line = _bounded(event)
        self._kept.append(line)
        for backlog in self._backlogs:
            backlog.add(line)

    @contextmanager
    def heard_by(self, last: int) -> Iterator[Backlog]:
        """The `last` events, and those to come meanwhile."""
        backlog = Backlog(islice(self._kept, max(0, len(self._kept) - last), None))
        self._backlogs.append(backlog)
        try:
            yield backlog
        finally:
            self._backlogs.remove(backlog)

    def end(self) -> None:
        """Nothing more will come: who listens may leave once he has heard the last."""
        for backlog in self._backlogs:
            backlog.end()


class Backlog:
    """What one listener has not been told yet."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = deque(lines, maxlen=MAX_BEHIND)
        self._missed = 0
        self._bell = anyio.Event()
        self.ended = False
        """Whether nothing more will come."""

    def add(self, line: str) -> None:
        """One more."""
        if len(self._lines) == MAX_BEHIND:
            self._missed += 1
        self._lines.append(line)
        self._bell.set()

    def end(self) -> None:
        """No more."""
        self.ended = True
        self._bell.set()

    def take(self) -> tuple[int, list[str]]:
        """How many are missing, and those that follow; then there are none."""
        taken = self._missed, list(self._lines)
        self._missed = 0
        self._lines.clear()
        if not self.ended:
            self._bell = anyio.Event()
        return taken

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._bell.wait()


def _bounded(event: Event) -> str:
    """The event as a line that is not too long for a ring of them."""
    now = datetime.now(UTC)
    line = to_json(event, now)
    if len(line) > MAX_EVENT and isinstance(event, WorkerExited):
        words = tuple(word[:_MAX_WORD] for word in event.last_words)
        line = to_json(replace(event, traceback=event.traceback[-_MAX_TOLD:], last_words=words), now)
    if len(line) > MAX_EVENT:
        line = to_json(Trouble(f"{str(event)[:_MAX_WORD]}... (the log has all of it)"), now)
    return line
