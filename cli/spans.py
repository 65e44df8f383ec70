"""Spans of time in their two largest units, as people read them."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86_400


def age(seconds: float) -> str:
    """Where there is room: `3 m 12 s`."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} m {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} m"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def span(seconds: float) -> str:
    """Without a blank: `3m12s`."""
    return age(seconds).replace(" ", "")
