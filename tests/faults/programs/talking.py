"""An application that says a lot, in every way there is, and never the same twice."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time

from fastapi import FastAPI

from exec_worker import Batch, node

log = logging.getLogger("talking")
app = FastAPI()


@app.get("/page")
async def page() -> str:
    """In a web worker."""
    print("printed by the page")  # noqa: T201 - that is the point; so everywhere here
    log.warning("logged by %s", "the page")
    return "page"


@node
def say(ticket: str) -> str:
    """Everything a node can write."""
    print("printed", ticket)  # noqa: T201
    print("complained", ticket, file=sys.stderr)  # noqa: T201
    log.info("logged %s", ticket)
    thread = threading.Thread(target=print, args=("threaded", ticket))
    thread.start()
    thread.join()
    try:
        int(ticket)
    except ValueError:
        log.exception("failed %s", ticket)
        sys.excepthook(*sys.exc_info())
    os.write(1, f"raw {ticket}\n".encode())
    return ticket


@node(stage="loop")
async def say_later(ticket: str) -> str:
    """The same in a task among others."""
    await asyncio.sleep(0.05)
    print("printed", ticket)  # noqa: T201
    log.info("logged %s", ticket)
    return ticket


@node(batch=Batch(max_size=4, max_wait_ms=200))
def say_all(tickets: list[str]) -> list[str]:
    """One line for several."""
    print("printed", *sorted(tickets))  # noqa: T201
    return tickets


@node
def many(ticket: str, count: int) -> str:
    """So many lines, as fast as they go."""
    for number in range(count):
        print("many", ticket, number, "x" * 60)  # noqa: T201
    return ticket


@node(stage="flood")
def flood(seconds: float) -> int:
    """As many lines as go into so many seconds, past everything that Python does with lines."""
    count, until, block = 0, time.monotonic() + seconds, b"".join(b"flood %d\n" % n for n in range(1000))
    while time.monotonic() < until:
        count += os.write(1, block)
    return count


@node(stage="flood")
def crash(ticket: str) -> None:
    """Ends with a traceback that nobody catches."""
    thread = threading.Thread(target=int, args=(ticket,))
    thread.start()
    thread.join()
    os.abort()
