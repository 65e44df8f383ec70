"""What a child finds in its environment: an allow-list, for user code reads it and crash reports copy it. Pure."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HARMLESS = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV")
"""Variables that every child inherits: where things are, and how people here write."""


def scrub(environ: Mapping[str, str], passed: Iterable[str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment of a child: the harmless, what matches `passed` (`*` for any characters), and `added`."""
    patterns = (*HARMLESS, *passed)
    kept = {
        name: value
        for name, value in environ.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    return kept | dict(added)
