"""Standard output from the beginning, when it may be closed, to the end: whether all that was said could be written."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import IO

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write fails with, and names no file."""


def put(text: str) -> bool:
    """Write it now; whether anybody reads. What comes after that nobody does goes nowhere, and is no failure."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget(sys.stdout)
        return False
    return True


def forget(stream: IO[str]) -> None:
    """Nobody reads this any more. Python would try again at its end, and complain about that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())


def attend() -> None:
    """Have the three standard streams, whichever of them was closed when this process began: nobody is there then."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it gets the lowest number: its own
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def unwritten(raised: OSError | None = None) -> str:
    """Why some of it could not be written; empty if all was, or nobody reads it. Nothing more is tried for that.

    `raised` is what a command failed with: without a buffer nothing else tells of it.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        forget(sys.stdout)
        return "" if error.errno == errno.EPIPE else error.strerror or str(error)
    if raised is not None and raised.filename is None and raised.errno in _FULL:
        return raised.strerror or str(raised)
    return ""
