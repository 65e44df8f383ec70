"""One call under way, as the asking side has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipc.errors import Rejected, WorkerDied
from ipc.messages.calls import ReplyMeta  # noqa: TC001 - a named tuple's fields are looked at
from ipc.priority import NORMAL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ipc.errors import IpcError
    from ipc.flow.dispatch import Seat
    from ipc.link import Link
    from ipc.mesh import Group


class Answer(NamedTuple):
    """What came back."""

    meta: ReplyMeta
    body: bytes | memoryview


class Call:
    """`future` gives its Answer, or the IpcError that says what may be done next."""

    __slots__ = (
        *("attempts", "begun", "body", "deadline", "future", "group", "id", "idempotent", "left", "link", "meta"),
        *("node", "priority", "seat", "sent", "since", "size", "slow"),
    )
    goes_on = False
    """Whether who has it is to send it on, and cannot answer it."""

    def __init__(
        self,
        group: Group,
        node: str,
        idempotent: bool,
        call_id: bytes,
        meta: bytes,
        body: bytes | memoryview,
        since: float,
        timeout: float,
        slow: Callable[[Call], None] | None,
        future: asyncio.Future[Answer],
        priority: int = NORMAL,
    ) -> None:
        self.id = call_id
        self.group, self.node, self.idempotent, self.priority = group, node, idempotent, priority
        self.since = since
        self.meta, self.body, self.size = meta, body, len(body)
        self.deadline = since + timeout
        self.slow = slow
        self.seat: Seat | None = None
        self.link: Link | None = None
        """Where it was sent last."""
        self.sent = 0.0
        """When that was, monotonic seconds."""
        self.attempts = 0
        """Workers that were gone before they had answered it."""
        self.begun = False
        """Whether one of those may have begun it."""
        self.left = False
        self.future = future

    @property
    def stage(self) -> str:
        """The node of a pipeline that it is at; empty for a call of one node."""
        return ""

    def leave(self, error: IpcError) -> None:
        """Nobody waits for it any more: tell its future why, and the queue if it was there."""
        if self.seat is None:
            self.group.dispatch.withdraw(self)
            self.body = b""  # its place in the queue may stay for a while, and it is not counted there any more
        # One that was sent keeps its body until its worker has answered, so that it can be suspected of the worker's
        # death. That many are no more than the rooms of the workers, each of `max_payload` at most.
        self.fail(error)

    def fail(self, error: IpcError) -> None:
        """Tell whoever waits. Nobody is told that nothing was done who was begun once already."""
        if not self.sent:
            self.group.sight.gave_up(self.since)
        if self.begun and isinstance(error, Rejected):
            error = WorkerDied(f"its worker died before it answered, and then {error}")
        error.stage = error.stage or self.stage
        if not self.future.done():
            self.future.set_exception(error)
