"""What `shunter top` hears of the service: one connection, read by a thread of its own, made anew when it is gone."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ipc.control import ControlError, watching
from ipc.messages.control import Happened, Missed, Status, Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INTERVAL = 1.0
"""How often the service says how it is, and is looked for when it is gone, seconds."""
LAST = 50
"""Events that are asked for first."""


class Seen(NamedTuple):
    """The service is like this."""

    status: Status
    at: float
    """When it was heard, monotonic seconds."""


class Told(NamedTuple):
    """An event, as the supervisor keeps it."""

    line: str


class Skipped(NamedTuple):
    """So many events were left out."""

    number: int


class Gone(NamedTuple):
    """Nothing can be heard, for now."""

    why: str


News: TypeAlias = Seen | Told | Skipped | Gone


class Feed:
    """Tells `hear` in its own thread whatever comes, until it is stopped."""

    def __init__(self, state_dir: Path, hear: Callable[[News], object], interval: float = INTERVAL) -> None:
        self._state_dir = state_dir
        self._hear = hear
        self._interval = interval
        self._stopped = threading.Event()
        self._known: deque[str] = deque(maxlen=LAST)  # to be told once, however often it is asked
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Hear nothing any more. It does not wait: the thread sees it when the next status comes."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
                why = "the service has stopped"
            except (ControlError, OSError) as error:
                why = str(error)
            if not self._stopped.is_set():
                self._hear(Gone(why))
            self._stopped.wait(self._interval)

    def _listen(self) -> None:
        with watching(self._state_dir, Watch(last=LAST, interval=self._interval)) as answers:
            for answer in answers:
                if self._stopped.is_set():
                    return
                match answer:
                    case Status():
                        self._hear(Seen(answer, time.monotonic()))
                    case Missed(count):
                        self._hear(Skipped(count))
                    case Happened(line) if line not in self._known:
                        self._known.append(line)
                        self._hear(Told(line))
