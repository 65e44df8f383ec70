"""Through which events reach everybody who wants to hear of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from supervisor.events import Event, LineWritten

Hook: TypeAlias = Callable[[Event], None]


class Hub:
    """Tells each event to everybody who listens; a listener that fails keeps nobody from hearing."""

    def __init__(self, *hooks: Hook) -> None:
        self._hooks = list(hooks)

    def tell(self, event: Event) -> None:
        """Say it to all. Whatever a hook raises is its own affair: a terminal that is gone ends no service."""
        for hook in tuple(self._hooks):
            with suppress(Exception):
                hook(event)

    @contextmanager
    def heard_by(self, hook: Hook) -> Iterator[None]:
        """`hook` hears what happens meanwhile."""
        self._hooks.append(hook)
        try:
            yield
        finally:
            self._hooks.remove(hook)


def in_words(progress: Callable[[str], None]) -> Hook:
    """A hook that tells `progress` what happens, sentence by sentence, but not what workers write."""

    def hear(event: Event) -> None:
        if not isinstance(event, LineWritten):
            progress(str(event))

    return hear
