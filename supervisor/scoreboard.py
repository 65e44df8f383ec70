"""What can be known of a process without asking it: its page and its memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OWN = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
_PAGE_SIZE = os.sysconf("SC_PAGESIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """The memory of process `pid` that is in RAM; 0 if it cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_SIZE
    return 0


def cpu_seconds(pid: int) -> float:
    """The processor time that process `pid` has used; 0 if it cannot be told."""
    with suppress(OSError, ValueError, IndexError):
        # Its name stands in brackets, and may have blanks and brackets of its own.
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return sum(map(int, after_name[11:13])) / _TICKS
    return 0.0


def own_bytes(pid: int) -> int:
    """The memory that nobody has back before process `pid` ends, in RAM or swapped out; 0 if it cannot be told.

    Without mapped files, which the kernel drops when it needs room. What a forked worker shares with its template is
    in it all the same: to tell shared pages apart, one would have to look into a process that lets nobody look.
    """
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(_OWN))
    return 0


def is_stopped(pid: int) -> bool:
    """Whether process `pid` was stopped by a signal or a debugger, so that it can do nothing at all."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    return False
