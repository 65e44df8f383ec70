"""What all systems run, so that no difference is the work's: a job notes in a log that it began, and that it ended."""

from __future__ import annotations

import functools
import os
import time

DEADLINE = float(os.environ.get("DEADLINE", "30"))
"""How long a call may take, seconds: each system is told so in its own way."""
START, EACH = 0.005, 0.0001
"""What a model costs: so much at all, and so much for each it is asked for; seconds."""
BATCH, WAIT = 32, 0.005
"""How many a model is asked for at once, and how long it waits for more, seconds."""


def job(kind: str, ticket: str, seconds: float) -> tuple[int, float]:
    """Do one piece of work; returns whose process it was and how long it really took."""
    if kind == "echo":
        return 0, 0.0
    if kind == "model":
        return 0, model(1)
    began = time.monotonic()
    _note("begin", ticket)
    try:
        if kind == "spin":
            while True:
                pass
        if kind == "c":
            sum(range(10**15))  # keeps the interpreter, and looks at no signal
        time.sleep(seconds)
    finally:
        _note("end", ticket)
    return os.getpid(), time.monotonic() - began


def model(count: int) -> float:
    """Answer so many at once; returns what each had to do with it."""
    time.sleep(START + EACH * count)
    return START + EACH


def _note(what: str, ticket: str) -> None:
    os.write(_log(), f"{what} {ticket} {os.getpid()} {time.monotonic()}\n".encode())


@functools.cache
def _log() -> int:
    return os.open(os.environ["EFFECT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
