"""Standard error as a person reads it: one prefix for whatever was not done."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

PREFIX = "error: "


def say_error(what: str) -> None:
    """Say it, red in front where that is seen."""
    say_report(f"\x1b[1;31m{PREFIX}\x1b[0m{what}" if _coloured() else f"{PREFIX}{what}")


def say_report(what: str) -> None:
    """Say it as it is. Who reads no complaints, or has no room for them, gets none."""
    with suppress(OSError):
        sys.stderr.write(f"{what}\n")
        sys.stderr.flush()


def _coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
