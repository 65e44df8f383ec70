"""What was probably meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def nearest(name: str, valid: Collection[str]) -> str | None:
    """The valid name that was probably meant."""
    by_lower = {word.lower(): word for word in valid}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def suggest(name: str, valid: Collection[str], what: str, most: int | None = None) -> str:
    """A hint: the nearest name, or `what` in front of the choice, of which `most` are named."""
    if (word := nearest(name, valid)) is not None:
        return f"did you mean '{word}'?"
    more = ", ..." if most is not None and len(valid) > most else ""
    return f"{what} {', '.join(list(valid)[:most])}{more}" if valid else ""
