"""Frames inside one process: for tests, and for running everything in one place."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ipc.transport.base import MAX_BACKLOG_FRAMES
from ipc.wire.frame import PREFIX

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from ipc.transport.base import End


class MemoryCarrier:
    """One of two ends. Each lives in its own loop; the loops may belong to different threads."""

    def __init__(self, end: End, loop: asyncio.AbstractEventLoop, largest: int) -> None:
        self._end = end
        self._loop = loop
        self._largest = largest
        self._other: MemoryCarrier | None = None
        # Two counters with one writer each, for the two may be in different threads.
        self._written = 0
        self._arrived = 0
        self._full = False
        self._open = True

    def write(self, data: bytes) -> None:
        """Hand one frame to the other end's loop."""
        other = self._other
        if not self._open or self._full or other is None:
            return
        self._written += len(data)
        if self._written - other._arrived > MAX_BACKLOG_FRAMES * self._largest:  # noqa: SLF001 - one of us
            self._full = True
            self._soon(self.close)
            return
        other._soon(other._arrive, data)  # noqa: SLF001

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        """Hand one frame over that is in parts."""
        self.write(b"".join(parts))

    def limit(self, largest: int) -> None:
        """Accept larger frames; see `Carrier`."""
        self._largest = largest

    def close(self) -> None:
        """End both directions; the other end is told after what was written."""
        if not self._open:
            return
        self._open = False
        self._soon(self._end.closed)
        if self._other is not None:
            self._other._soon(self._other.close)  # noqa: SLF001

    abort = close

    def _arrive(self, data: bytes) -> None:
        self._arrived += len(data)
        if len(data) - PREFIX.size > self._largest:
            self.close()
        elif self._open:
            self._end.received(data[PREFIX.size :])

    def _soon(self, call: object, *args: object) -> None:
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(call, *args)  # type: ignore[arg-type]


def connect(
    near: End, near_loop: asyncio.AbstractEventLoop, far: End, far_loop: asyncio.AbstractEventLoop, largest: int
) -> tuple[MemoryCarrier, MemoryCarrier]:
    """Two ends that are each other's other end; both owners are told in their own loops."""
    one, two = MemoryCarrier(near, near_loop, largest), MemoryCarrier(far, far_loop, largest)
    one._other, two._other = two, one  # noqa: SLF001 - only together do they make sense
    two._soon(far.opened, two)  # noqa: SLF001
    one._soon(near.opened, one)  # noqa: SLF001
    return one, two
