"""Those who watch over the control socket: each is told at its own pace, and none is waited for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from ipc.messages.control import Done, Happened, Missed, Refused, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import SocketStream

    from ipc.messages.control import Answer, Status, Watch
    from supervisor.recent import Backlog, Recent

MAX_WATCHERS = 8
"""Beside those who give orders, who are never kept out by them."""
MIN_INTERVAL = 0.1
"""The shortest time between two statuses, seconds."""
FAREWELL = 1.0
"""How long a watcher has to hear the last of a service that has stopped, seconds."""
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Audience:
    """A bounded number of watchers."""

    def __init__(self, recent: Recent, status: Callable[[], Status]) -> None:
        self._recent = recent
        self._status = status
        self._present = 0
        self._left = anyio.Event()

    async def serve(self, order: Watch, client: SocketStream) -> Done | Refused:
        """Tell `client` what happens until it hangs up or nothing more will come."""
        if self._present >= MAX_WATCHERS:
            return Refused(f"{MAX_WATCHERS} watch already, and no more can; end one of them")
        self._present += 1
        try:
            with self._recent.heard_by(order.last) as backlog:
                if not order.follow:
                    backlog.end()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(until_gone, client, tasks.cancel_scope)
                    with suppress(*_GONE):
                        await self._tell(order, backlog, client)
                    tasks.cancel_scope.cancel()
        finally:
            self._present -= 1
            self._left.set()
        return Done("no more is to come")

    async def finish(self) -> None:
        """The service has stopped: let everybody hear the last of it, for a moment."""
        self._recent.end()
        with anyio.move_on_after(FAREWELL):
            while self._present:
                self._left = anyio.Event()
                await self._left.wait()

    async def _tell(self, order: Watch, backlog: Backlog, client: SocketStream) -> None:
        interval = max(order.interval, MIN_INTERVAL) if order.interval else 0.0
        due = anyio.current_time() if interval else float("inf")
        while True:
            said = [*_in_lines(*backlog.take())]
            if (now := anyio.current_time()) >= due:
                said.append(self._status())
                due = max(due + interval, now)  # what nobody had time for is not made up for
            if said:
                await client.send(b"".join(map(encode, said)))
            elif backlog.ended:
                return
            with anyio.CancelScope(deadline=due):
                await backlog.wait()


def _in_lines(missed: int, lines: list[str]) -> Iterator[Answer]:
    if missed:
        yield Missed(missed)
    yield from map(Happened, lines)


async def until_gone(client: SocketStream, scope: anyio.CancelScope) -> None:
    """A client has said all it has to say: whatever comes from it now means that it has left. Cancels `scope` then."""
    with suppress(anyio.EndOfStream, *_GONE):
        await client.receive()
    scope.cancel()
