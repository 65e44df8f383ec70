"""An application that blocks the loop it is served from, and nodes that leave processes behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from fastapi import FastAPI

from exec_worker import node

app = FastAPI()
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
FLEE = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
os.execv(sys.argv[1], sys.argv[1:])
"""
DAEMON = [sys.executable, "-S", "-c", FLEE, *SLEEP]


@app.get("/hang")
async def hang(seconds: float) -> str:
    """What should not be done in an event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return "done"


@app.get("/wait")
async def wait() -> int:
    """Who serves."""
    return os.getpid()


@node
def quick(ticket: str) -> str:
    return ticket


@node
def nap(ticket: str, seconds: float) -> str:
    time.sleep(seconds)
    return ticket


@node
def chatter(ticket: str, seconds: float) -> str:
    """As many long lines as somebody takes."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        os.write(1, b"x" * 2_000_000 + b"\n")
        os.write(2, b"y" * 100 + b"\n")
    return ticket


@node
def large(ticket: str) -> str:
    return "x" * 1_000_000


@node
def family(ticket: str) -> list[int]:
    """One child in the worker's process group, one in its own session, one without a parent here, and a fork."""
    with subprocess.Popen(DAEMON, stdout=subprocess.PIPE) as fled:
        assert fled.stdout is not None
        away = int(fled.stdout.readline())
    tame = subprocess.Popen(SLEEP)
    wild = subprocess.Popen(SLEEP, start_new_session=True)
    if (copy := os.fork()) == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    return [tame.pid, wild.pid, away, copy]


@node
def vanish(ticket: str) -> int:
    """A daemon that nothing shows to be of this service: in a session of its own, with nothing in its environment."""
    with subprocess.Popen(DAEMON, stdout=subprocess.PIPE, env={}) as fled:
        assert fled.stdout is not None
        return int(fled.stdout.readline())


@node
def zombies(ticket: str) -> list[int]:
    """Children of children that end when nobody who made them is there any more."""
    code = "import os, time\nfor _ in range(20):\n if os.fork() == 0: time.sleep(0.2); os._exit(7)\n"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    return []
