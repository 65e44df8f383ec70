"""Which calls wait for an answer. Every waiter leaves the table exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ipc.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Iterator


class Waiting(Protocol):
    """What the table needs to know of a waiter; nothing here knows about event loops."""

    @property
    def deadline(self) -> float:
        """When nobody will want the answer any more, monotonic seconds."""
        ...


W = TypeVar("W", bound=Waiting)


class Pending(Generic[W]):
    """Hand each waiter back exactly once: to its reply, its timeout, its cancellation or the end of everything.

    Correlation is by call id and by nothing else: a reply whose call has left finds nobody and is counted as late.
    """

    __slots__ = ("_waiting", "late")

    def __init__(self) -> None:
        self._waiting: dict[bytes, W] = {}
        self.late = 0
        """Answers that came after their waiter had left."""

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, call_id: bytes, waiter: W) -> None:
        """Register before anything is written; Misuse if the id already waits."""
        if call_id in self._waiting:
            raise Misuse(f"call {call_id.hex()} is already waiting")
        self._waiting[call_id] = waiter

    def settle(self, call_id: bytes) -> W | None:
        """The waiter of `call_id`, which leaves the table; None (and counted) if it has left before."""
        waiter = self._waiting.pop(call_id, None)
        if waiter is None:
            self.late += 1
        return waiter

    def leave(self, call_id: bytes) -> W | None:
        """The same for a waiter that goes of its own will; nothing is counted."""
        return self._waiting.pop(call_id, None)

    def peek(self, call_id: bytes) -> W | None:
        """The waiter of `call_id`, which stays."""
        return self._waiting.get(call_id)

    def expire(self, now: float) -> list[W]:
        """Everyone whose deadline has come. Costs as much as there are waiters, not as there have been."""
        ended = [call_id for call_id, waiter in self._waiting.items() if waiter.deadline <= now]
        return [self._waiting.pop(call_id) for call_id in ended]

    def abandon(self) -> list[W]:
        """Everyone: no answer can come any more."""
        waiters = list(self._waiting.values())
        self._waiting.clear()
        return waiters

    def __iter__(self) -> Iterator[W]:
        return iter(list(self._waiting.values()))
