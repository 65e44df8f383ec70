"""New keys under load: what is lost, and what the requests of that time notice of it.

Requests come at a fixed rate, whether the ones before are answered or not, and their time counts from when they were
due: so a pause shows in full.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from systems import service

from ipc.control import ask
from ipc.messages.control import Done, RotateKeys

RATE = 500
"""Requests a second."""
CONNECTIONS = 16
ROTATIONS = 10
SECONDS = 5.0
BODY = b'{"n":1,"text":"0123456789abcdef"}'


class Figures(NamedTuple):
    """What one run saw. `p50` and `p99` are seconds."""

    asked: int
    lost: int
    p50: float
    p99: float


async def steady(url: str, seconds: float) -> Figures:
    """Ask at that rate for so long."""
    host = urlsplit(url).hostname or ""
    port = urlsplit(url).port or 80
    head = f"POST /declared HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}"
    request = head.encode() + b"\r\n\r\n" + BODY
    due: asyncio.Queue[float | None] = asyncio.Queue()
    times: list[float] = []
    lost = 0

    async def client() -> None:
        nonlocal lost
        reader, writer = await asyncio.open_connection(host, port)
        while (when := await due.get()) is not None:
            try:
                writer.write(request)
                answer = await reader.readuntil(b"\r\n\r\n")
                size = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(size)
                lost += not answer.startswith(b"HTTP/1.1 200")
            except (OSError, asyncio.IncompleteReadError):
                lost += 1
                reader, writer = await asyncio.open_connection(host, port)
            times.append(time.perf_counter() - when)
        writer.close()

    clients = [asyncio.create_task(client()) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    for number in range(int(RATE * seconds)):
        when = began + number / RATE
        await asyncio.sleep(max(0.0, when - time.perf_counter()))
        due.put_nowait(when)
    for _ in clients:
        due.put_nowait(None)
    await asyncio.gather(*clients)
    cuts = statistics.quantiles(times, n=100)
    return Figures(len(times), lost, cuts[49], cuts[98])


def measure(seconds: float = SECONDS) -> tuple[Figures, Figures]:
    """The same load without and with rotations."""
    with service() as (url, state):

        async def run() -> tuple[Figures, Figures]:
            await steady(url, 1.0)
            calm = await steady(url, seconds)
            busy = asyncio.create_task(steady(url, seconds))
            for _ in range(ROTATIONS):
                await asyncio.sleep(0.8 * seconds / ROTATIONS)
                answer = await asyncio.to_thread(ask, state, RotateKeys())
                assert isinstance(answer, Done), answer
            return calm, await busy

        return asyncio.run(run())


def table(figures: tuple[Figures, Figures]) -> list[str]:
    """The two runs as a table."""
    lines = [
        f"{RATE} requests a second, due at fixed times; {ROTATIONS} rotations in the second run.",
        "",
        "| | requests | lost | p50 ms | p99 ms |",
        "|---|---|---|---|---|",
    ]
    for name, run in zip(("without", "with rotations"), figures, strict=True):
        lines.append(f"| {name} | {run.asked} | {run.lost} | {run.p50 * 1e3:.2f} | {run.p99 * 1e3:.2f} |")
    return lines


def goals(figures: tuple[Figures, Figures]) -> list[tuple[str, float, str]]:
    """Requests lost to rotations."""
    return [(f"requests lost in {ROTATIONS} key rotations at {RATE} a second", figures[1].lost, "0")]


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(measure())) + "\n")
