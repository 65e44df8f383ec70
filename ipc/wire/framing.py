"""Whole frames out of a byte stream. Reads no socket, so a test can feed it anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.wire.frame import LARGE, PREFIX, Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX_SIZE = PREFIX.size
_NOTHING = b""


class Deframer:
    """Bytes in, frames out.

    A frame that arrives whole is returned as a slice of what arrived. One that does not is gathered in a buffer of its
    own announced size, made only after that size was found to be within `limit`: nothing grows or is copied twice.
    What is missing of a large one can be received right into its place: `room`, `filled`.
    """

    __slots__ = ("_buffer", "_filled", "_head", "limit", "minimum", "room")

    def __init__(self, limit: int, minimum: int = 1) -> None:
        self.limit = limit
        self.minimum = minimum
        self._head = _NOTHING  # up to three bytes of a length
        self._buffer: bytearray | None = None
        self._filled = 0
        self.room: memoryview | None = None
        """Where the rest of the frame at hand belongs if that is much; None: receive elsewhere and `feed` it."""

    def feed(self, data: bytes) -> Iterator[bytes | bytearray]:
        """Take what arrived and yield the frames it completes; Refuse for a length out of bounds.

        To be iterated to its end. `limit` may be changed between two frames: it holds from the next one on.
        """
        at = 0
        buffer = self._buffer
        if buffer is not None:
            at = self._fill(buffer, data, 0)
            if self._filled < len(buffer):
                return
            self._buffer = None
            yield buffer
        elif self._head:
            data, self._head = self._head + data, _NOTHING
        end = len(data)
        while end - at >= _PREFIX_SIZE:
            size = PREFIX.unpack_from(data, at)[0]
            if not self.minimum <= size <= self.limit:
                raise Refuse(Refusal.TOO_LARGE if size > self.limit else Refusal.SHORT)
            at += _PREFIX_SIZE
            if end - at < size:
                self._buffer, self._filled = bytearray(size), 0
                self._fill(self._buffer, data, at)
                return
            yield data[at : at + size]
            at += size
        self._head = data[at:]

    def filled(self, count: int) -> bytearray | None:
        """So many bytes were received into `room`; returns the frame if it is whole now."""
        buffer = self._buffer
        self._advance(count)
        if buffer is None or self._filled < len(buffer):
            return None
        self._buffer = None
        return buffer

    def _fill(self, buffer: bytearray, data: bytes, at: int) -> int:
        taken = min(len(buffer) - self._filled, len(data) - at)
        buffer[self._filled : self._filled + taken] = memoryview(data)[at : at + taken]
        self._advance(taken)
        return at + taken

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._buffer is not None:
            large = len(self._buffer) - self._filled >= LARGE
            self.room = memoryview(self._buffer)[self._filled :] if large else None

    @property
    def partial(self) -> bool:
        """Whether a stream that ended now would have been cut inside a frame."""
        return self._buffer is not None or bool(self._head)
