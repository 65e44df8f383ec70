"""What a child finds in its environment: an allow-list, for user code reads it and crash reports copy it. Pure."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HARMLESS = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "TMPDIR", "VIRTUAL_ENV"),
    # What the interpreter itself needs, and what changes how it runs but not what it runs at start. PYTHONPATH is
    # here because people keep their packages there; PYTHONSTARTUP, PYTHONINSPECT and PYTHONBREAKPOINT are not.
    *("LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX"),
    *("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED"),
    *("PYTHONINTMAXSTRDIGITS", "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONNODEBUGRANGES", "PYTHONOPTIMIZE"),
    *("PYTHONTRACEMALLOC", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONWARNINGS"),
    *("OTEL_*", "SSL_CERT_*", "*_NUM_THREADS"),
)
"""Variables that every child inherits; whatever else it needs, the configuration names."""


def scrub(environ: Mapping[str, str], passed: Iterable[str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment of a child: the harmless, what matches `passed` (`*` for any characters), and `added`."""
    patterns = (*HARMLESS, *passed)
    kept = {
        name: value
        for name, value in environ.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    return kept | dict(added)
