"""`shunter version`."""

from __future__ import annotations

from shunter import VERSION


def version() -> int:
    """Print the version."""
    print(f"shunter {VERSION}")  # noqa: T201 -- a terminal's width, colour or table does not matter here
    return 0
