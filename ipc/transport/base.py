"""What every carrier promises, whoever is behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BACKLOG_FRAMES = 8
"""A peer that does not read may leave this many of the largest frames waiting in us; then the carrier is closed."""

FRAME_TIME = 10.0
"""A frame that a peer that dialled has begun must be whole after so many seconds."""

WRITE_STALL = 10.0
"""A peer that dialled and for which something waits must take some of it within so many seconds. One that was dialled
may run what lets nothing else in its process run: it is judged by the deadlines of its calls, here and above."""

CLOSE_TIME = 5.0
"""How long the peer of a carrier that is being closed may take to read what is left, seconds."""


class End(Protocol):
    """Who owns one end of a carrier. All three are called in the owner's loop, never from within `write`."""

    def opened(self, carrier: Carrier) -> None:
        """The other end is there."""
        ...

    def received(self, frame: bytes | bytearray) -> None:
        """One whole frame, without its length. In order; each once; none after `closed`."""
        ...

    def closed(self) -> None:
        """Nothing more can come or go. Called exactly once, whichever end it was that left.

        Without `opened` before it if the other end may not connect.
        """
        ...


class Carrier(Protocol):
    """A two-way channel for whole frames. Keeps order; loses a suffix or nothing.

    A peer in another process that dialled and does not finish a frame, or does not take what waits for it, is closed
    after `FRAME_TIME` and `WRITE_STALL`. Time in which this process did not run is not held against the peer.
    """

    def write(self, data: bytes) -> None:
        """Take one frame with its length in front. From any thread, but from one at a time; never waits.

        What cannot be sent at once is kept up to a bound, beyond which the carrier is closed. After the close it does
        nothing: the owner has been told, or will be.
        """
        ...

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        """The same for one large frame in parts: they are not joined, and may be kept until they are sent."""
        ...

    def limit(self, largest: int) -> None:
        """Accept frames of up to `largest` bytes from now on. A longer one closes the carrier before it is read."""
        ...

    def close(self) -> None:
        """Send what was written, then end both directions. From the owner's loop; may be called twice.

        Nothing is heard or taken any more. A peer that does not read is not waited for longer than `CLOSE_TIME`.
        """
        ...

    def abort(self) -> None:
        """End both directions now, whatever was not sent yet. From the owner's loop; may be called twice."""
        ...
