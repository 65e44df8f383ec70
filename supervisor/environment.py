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
    *("OTEL_*", "SSL_CERT_*", "*_NUM_THREADS", "MALLOC_*"),
)
"""Variables that every child inherits; whatever else it needs, the configuration names."""


OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})
"""Variables that no child inherits, whatever the configuration passes on: systemd speaks with the supervisor alone."""


ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""How the C library keeps freed memory for the next large body instead of asking the kernel for fresh pages each time:
a body of 1 MiB then takes two thirds of the time. At most 64 MiB of it stay with an idle process."""


PERSONAL = ("HOME", "USER", "LOGNAME")
"""Variables that say who somebody is."""


def scrub(environ: Mapping[str, str], passed: Iterable[str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment of a child: the harmless, what matches `passed` (`*` for any characters), and `added`."""
    patterns = (*HARMLESS, *passed)
    kept = {
        name: value
        for name, value in environ.items()
        if name not in OURS and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    return ALLOCATOR | kept | dict(added)


def without_us(environment: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """The same for a child that becomes another user: what names this one is left out, unless it was set for it."""
    return {name: value for name, value in environment.items() if name not in PERSONAL or value != ours.get(name)}


def of_program(environ: Mapping[str, str], passed: Iterable[str], added: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment of a program that is none of ours: without what suits only our own processes."""
    found = scrub(environ, passed, ())
    return {name: value for name, value in found.items() if name not in ALLOCATOR or name in environ} | dict(added)
