"""What a request of the app carries while it is inside: who it is, the way to the nodes, what its client sends."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ipc.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web_worker.correlation import Correlation
    from web_worker.handoff import Handoffs
    from web_worker.responses import Message, Receive, Scope

SCOPE_KEY = "shunter"
"""Where an ASGI scope has its `Inside`: the app's routes and those of apps mounted in it find it there."""


class Inbox:
    """A request's messages for two readers: the app, which wants the body, and whoever asks if the client left."""

    def __init__(self, receive: Receive, most: int = 0) -> None:
        """`most` bounds the body, bytes; 0 leaves it to the app."""
        self._receive, self._most = receive, most
        self._size = 0
        self._reading = asyncio.Lock()
        self._kept: Message | None = None
        self._whole = False
        self._gone: Message | None = None
        self.answered = False
        """Whether the whole answer was sent; from then on a disconnect says nothing."""

    async def receive(self) -> Message:
        """The next message, for the app. Raises TooLarge."""
        if self._kept is None:
            async with self._reading:
                if self._kept is None:
                    return await self._next()
        message, self._kept = self._kept, None
        return message

    async def departed(self) -> bool:
        """Wait until the client has left; False if that cannot be told, or does not matter any more."""
        while not self.answered:
            async with self._reading:
                if self._gone is None:
                    if self._kept is not None and not self._whole:
                        return False  # the app leaves the body where it is: nothing behind it can be seen
                    message = await self._next()
                    if self._gone is None:
                        self._kept = message
            if self._gone is not None:
                return not self.answered
        return False

    async def _next(self) -> Message:
        if self._gone is not None:
            return self._gone
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = message
        else:
            self._whole = not message.get("more_body", False)
            self._size += len(message.get("body", b""))
            if self._most and self._size > self._most:
                raise TooLarge(f"the body has more than {self._most} bytes")
        return message


class Inside:
    """One request or WebSocket of the app."""

    __slots__ = ("chosen", "handoffs", "inbox", "told", "who")

    def __init__(self, who: Correlation, handoffs: Handoffs, inbox: Inbox | None = None, chosen: Any = None) -> None:  # noqa: ANN401 - a FastAPI route
        self.who, self.handoffs, self.inbox = who, handoffs, inbox
        self.chosen = chosen
        """The declared endpoint's route, where one was found in front of the app."""
        self.told = False
        """Whether the log has a line about how it ended."""


_current: ContextVar[Inside | None] = ContextVar("shunter_inside", default=None)


def enter(scope: Scope, inside: Inside) -> None:
    """Make it what `inside_of` and, in this task, `context` find."""
    scope[SCOPE_KEY] = inside
    _current.set(inside)


def inside_of(scope: Scope) -> Inside | None:
    """What the request carries; None outside of Shunter."""
    found = scope.get(SCOPE_KEY)
    return found if isinstance(found, Inside) else None


def context() -> Mapping[str, object]:
    """Whose request is at hand, for log lines of the application."""
    if (inside := _current.get()) is None:
        return {}
    return {"request_id": inside.who.request_id, "trace": inside.who.trace}
