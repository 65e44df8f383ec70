"""Hundreds of connections that say one byte a second: what honest requests notice of them.

The slow ones are a process of their own, on the core that is not the web worker's. Whoever is closed comes again after
a second. They try two doors: the exec worker's port, with a handshake, and the web worker's, with a request.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from rotation import Figures, steady
from systems import free_port, service

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW = 500
SECONDS = 8.0
"""Longer than a handshake may take, so that every slow one has been shown out at least once."""
ROUNDS = 3
SAID = {
    "worker": b"\x00\x00\x00\x9c\xe5\x4e\x01\x20\x01\x02\x01\x02" + bytes(100),
    "web": b"GET /declared HTTP/1.1\r\nhost: localhost\r\nx-slow: " + b"a" * 10_000,
}


class Loris(NamedTuple):
    """The same load alone and beside slow connections to either port: medians of the rounds."""

    alone: Figures
    worker: Figures
    web: Figures


async def _drip(port: int, said: bytes) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            over = asyncio.ensure_future(reader.read())
            for byte in cycle(said):
                writer.write(bytes([byte]))
                if (await asyncio.wait([over], timeout=1.0))[0]:
                    break
            over.exception()
            writer.transport.abort()
        await asyncio.sleep(1.0)


async def _crowd(port: int, said: bytes) -> None:
    slow = []
    for _ in range(SLOW):  # not all in one moment: a flood is another attack
        slow.append(asyncio.ensure_future(_drip(port, said)))
        await asyncio.sleep(1.0 / SLOW)
    await asyncio.gather(*slow)


@contextmanager
def _crowded(port: int, door: str) -> Iterator[None]:
    crowd = subprocess.Popen([sys.executable, str(Path(__file__)), "crowd", str(port), door])
    try:
        time.sleep(3.0)  # until all are there
        yield
    finally:
        crowd.kill()
        crowd.wait()


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> Loris:
    """The three in turn, several times."""
    port = free_port()
    runs = []
    with service(f"runtime.platform.execution_ipc.bind_port={port}") as (url, _state):
        doors = {"worker": port, "web": urlsplit(url).port or 80}
        asyncio.run(steady(url, 1.0))
        for _ in range(rounds):
            alone = asyncio.run(steady(url, seconds))
            beside = []
            for door, at in doors.items():
                with _crowded(at, door):
                    beside.append(asyncio.run(steady(url, seconds)))
            runs.append((alone, *beside))
    return Loris(*(Figures(*map(statistics.median, zip(*column, strict=True))) for column in zip(*runs, strict=True)))


def table(loris: Loris) -> list[str]:
    """The three as a table."""
    lines = [
        "Requests due at fixed times; medians of all rounds. The slow ones say one byte a second.",
        "",
        "| | requests | lost | p50 ms | p99 ms | p99, x |",
        "|---|---|---|---|---|---|",
    ]
    names = ("alone", f"beside {SLOW} at the exec worker's port", f"beside {SLOW} at the web worker's port")
    for name, run in zip(names, loris, strict=True):
        ratio = run.p99 / loris.alone.p99
        lines.append(
            f"| {name} | {run.asked:.0f} | {run.lost:.0f} | {run.p50 * 1e3:.2f} | {run.p99 * 1e3:.2f} | {ratio:.2f} |"
        )
    return lines


def goals(loris: Loris) -> list[tuple[str, float, str]]:
    """The honest p99 beside the slow ones against the honest p99 alone."""
    return [
        (f"p99 beside {SLOW} slow connections to a worker / alone", loris.worker.p99 / loris.alone.p99, "< 2"),
        (f"p99 beside {SLOW} slow clients / alone", loris.web.p99 / loris.alone.p99, "< 2"),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["crowd"]:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, 4 * SLOW) if hard < 0 else min(hard, 8192), hard))
        asyncio.run(_crowd(int(sys.argv[2]), SAID[sys.argv[3]]))
    else:
        found = measure()
        marks = (f"{what}: {figure:.2f} ({goal})" for what, figure, goal in goals(found))
        sys.stdout.write("\n".join((*table(found), "", *marks)) + "\n")
