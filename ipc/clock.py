"""Time at the edge. Inside, `now` is an argument; wall time is for people's eyes only."""

from __future__ import annotations

import time

_boottime = time.CLOCK_BOOTTIME
_clock_ns = time.clock_gettime_ns
now = time.monotonic
"""Seconds that only grow: for deadlines and waits."""


def boot_ms() -> int:
    """Milliseconds since the machine started, suspended time included: for the age of frames."""
    return _clock_ns(_boottime) // 1_000_000
