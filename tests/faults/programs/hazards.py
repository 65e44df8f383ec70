"""An application whose nodes do what hurts a worker, and write down when they begin and when they end.

Each line of the log is one write to a file opened for appending: it is there, whole, even if the process is killed the
moment after. `..._again` are the same computations, declared idempotent.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exec_worker import Batch, current, node

if TYPE_CHECKING:
    from collections.abc import Iterator

MiB = 1024 * 1024
LOG_VARIABLE = "EFFECT_LOG"
_mood = Path(os.environ[LOG_VARIABLE]).with_name("mood")
"""A file that says what an import does: `wait` until it says something else, or `raise`."""
while _mood.exists() and (_says := _mood.read_text()):
    if _says == "raise":
        raise ImportError("there is no such hazard")
    time.sleep(0.01)


@cache
def _log() -> int:
    return os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def note(what: str, ticket: str) -> None:
    """One line of the log."""
    os.write(_log(), f"{what} {ticket} {os.getpid()} {time.monotonic():.6f}\n".encode())


@contextmanager
def effect(ticket: str) -> Iterator[None]:
    """What a call does to the world: it begins; it ends, or is cut short, unless its process is gone before."""
    note("begin", ticket)
    try:
        yield
    except BaseException:
        note("cut", ticket)
        raise
    note("end", ticket)


# -- ordinary work


@node
def quick(ticket: str) -> str:
    """Over at once."""
    with effect(ticket):
        return ticket


@node
def nothing(ticket: str) -> str:
    """Not even a line in the log."""
    return ticket


@node(idempotent=True)
def quick_again(ticket: str) -> str:
    return quick(ticket)


@node
def nap(ticket: str, ms: float) -> str:
    """Takes its time, and none of the processor's."""
    with effect(ticket):
        time.sleep(ms / 1000)
    return ticket


@node(idempotent=True)
def nap_again(ticket: str, ms: float) -> str:
    return nap(ticket, ms)


@node(batch=Batch(max_size=8, max_wait_ms=20))
def batch(tickets: list[str]) -> list[str]:
    """Several calls as one: each begins, and each ends."""
    with ExitStack() as stack:
        for ticket in tickets:
            stack.enter_context(effect(ticket))
        time.sleep(0.01 + 0.001 * len(tickets))
    return tickets


@node(idempotent=True, batch=Batch(max_size=8, max_wait_ms=20))
def batch_again(tickets: list[str]) -> list[str]:
    return batch(tickets)


# -- what never ends


@node
def spin(ticket: str) -> str:
    """A loop of Python: it can be interrupted between any two instructions."""
    with effect(ticket):
        while True:
            pass


@node(idempotent=True)
def spin_again(ticket: str) -> str:
    return spin(ticket)


@node
def backtrack(ticket: str) -> str:
    """A loop in C that keeps the GIL; only some versions of Python let a signal into it."""
    with effect(ticket):
        re.match(r"(a+)+$", "a" * 64 + "b")
    return ticket


@node
def bessel(ticket: str) -> str:
    """A loop in C that keeps the GIL for seconds and knows of no signals: the recurrence of a Bessel function."""
    jn = ctypes.PyDLL("libm.so.6").jn
    jn.restype, jn.argtypes = ctypes.c_double, (ctypes.c_int, ctypes.c_double)
    with effect(ticket):
        while True:
            jn(2**31 - 2, 3e9)


@node
def swallow(ticket: str) -> str:
    """Takes every exception for a reason to go on, and every signal that a process may refuse for none at all."""
    with suppress(ValueError):  # nodes may run beside the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with effect(ticket):
        while True:
            with suppress(BaseException):
                while True:
                    time.sleep(0.01)


# -- what ends the process


@node
def segfault(ticket: str) -> str:
    with effect(ticket):
        ctypes.string_at(0)
    return ticket


@node(idempotent=True)
def segfault_again(ticket: str) -> str:
    return segfault(ticket)


@node
def poison(dose: str) -> str:
    """The same, from a request that may come again: its ticket is only in the request's id."""
    return segfault(current().request_id + dose * 0)


@node
def spite(dose: str) -> str:
    """The same, once nobody waits for it any more."""
    with suppress(BaseException):
        time.sleep(5)
    return poison(dose)


@node
def abort(ticket: str) -> str:
    with effect(ticket):
        os.abort()


@node
def leave(ticket: str) -> str:
    """Ends the process as if all were well."""
    with effect(ticket):
        os._exit(0)


@node
def sysexit(ticket: str) -> str:
    """Asks the interpreter to end, which is an exception like others."""
    with effect(ticket):
        sys.exit(3)


# -- what cannot be answered with


@node
def huge(ticket: str) -> bytes:
    with effect(ticket):
        return bytes(100 * MiB)


@node
def strange(ticket: str) -> Any:
    """Nothing that could be written as JSON."""
    with effect(ticket):
        return threading.Lock()


# -- what stays behind


@node
def threads(ticket: str) -> str:
    """Leaves threads behind that are never over."""
    with effect(ticket):
        for _ in range(8):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    return ticket
