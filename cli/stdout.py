"""Standard output as it is left at the end: whether all that was said could be written."""

from __future__ import annotations

import errno
import os
import sys

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write fails with, and names no file."""


def put(text: str) -> bool:
    """Write it now; whether anybody reads. What comes after that nobody does goes nowhere, and is no failure."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        forget()
        return False
    return True


def forget() -> None:
    """Nobody reads any more. Python would try again at its end, and complain about that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def unwritten(raised: OSError | None = None) -> str:
    """Why some of it could not be written; empty if all was, or nobody reads it. Nothing more is tried for that.

    `raised` is what a command failed with: without a buffer nothing else tells of it.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        forget()
        return "" if error.errno == errno.EPIPE else error.strerror or str(error)
    if raised is not None and raised.filename is None and raised.errno in _FULL:
        return raised.strerror or str(raised)
    return ""
