"""One call under way, as the asking side has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipc.messages.calls import ReplyMeta  # noqa: TC001 - a named tuple's fields are looked at

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ipc.flow.dispatch import Seat
    from ipc.link import Link
    from ipc.mesh import Group


class Answer(NamedTuple):
    """What came back."""

    meta: ReplyMeta
    body: bytes | memoryview


class Call:
    """`future` gives its Answer, or the IpcError that says what may be done next."""

    __slots__ = ("body", "deadline", "future", "group", "id", "left", "link", "meta", "seat", "since", "size", "slow")

    def __init__(
        self,
        group: Group,
        call_id: bytes,
        meta: bytes,
        body: bytes | memoryview,
        since: float,
        timeout: float,
        slow: Callable[[Call], None] | None,
        future: asyncio.Future[Answer],
    ) -> None:
        self.id = call_id
        self.group = group
        self.since = since
        self.meta, self.body, self.size = meta, body, len(body)
        self.deadline = since + timeout
        self.slow = slow
        self.seat: Seat | None = None
        self.link: Link | None = None
        """Where it was sent last."""
        self.left = False
        self.future = future
