"""Requests to stop that come before there is a loop which could hear them. As PID 1 the kernel would drop them."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Answer = Callable[[int, FrameType | None], None]

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Early:
    """What to do about them, from the first moment on until `signals.heard` takes over."""

    def __init__(self) -> None:
        self.asked = 0
        """The first signal that asked for a stop; 0 for none."""

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Meanwhile a request ends what is under way, in order, and the process with exit code 0; afterwards it waits.

        One that is swallowed by what it meets waits, too.
        """
        _answer_with(self._interrupt)
        try:
            yield
        finally:
            _answer_with(self._note)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._note(signum, frame)
        _answer_with(self._note)  # who insists must not disturb the end of what is under way, which takes no time
        raise SystemExit(0)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self.asked = self.asked or signum


def _answer_with(answer: Answer) -> None:
    for signum in _STOPPING:
        signal.signal(signum, answer)
