"""Numbers of bytes as people write and read them. Pure."""

from __future__ import annotations

_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
PATTERN = r"[0-9]{1,18} ?(?:B|KiB|MiB|GiB|TiB)?"
"""The form of a size."""
SAYS = "a size such as 536870912, 512MiB or 2GiB"


def in_bytes(size: str) -> int:
    """How much `512MiB` is; `size` has the form of PATTERN."""
    digits = size.rstrip("BKMGTi ")
    return int(digits) * _UNITS[size[len(digits) :].strip()]


def in_units(number: int) -> str:
    """What people need to know of it: `640.0 MiB`, `1.2 GiB`."""
    told = f"{number} bytes"
    for unit, size in _UNITS.items():
        if size > 1 and number >= size:
            told = f"{number / size:.1f} {unit}"
    return told
