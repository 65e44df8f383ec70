"""Strangers at an exec worker's port, each in its own way. A process of its own, as an attacker is.

    python strangers.py HOST PORT WAY COUNT SEED

WAY is `garbage`, `bomb` or `drip`; for the last, SEED is how many seconds it goes on. Prints JSON lines: for `drip` one
when all have connected, and one at the end of any of them, of what was heard and how long it took.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import random
import resource
import struct
import sys
import time
from contextlib import suppress

AT_ONCE = 100
PATIENCE = 60.0
HELLO = b"\x00\x00\x00\x9c\xe5\x4e\x01\x20\x01\x02\x01\x02"
"""The length of a HELLO and its first fields."""
HTTP = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Exploit:
    """What a careless reader would run."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return print, ("unpickled",)


def tell(**what: float) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def garbage(rng: random.Random) -> bytes:
    """An opening of somebody who is not a web worker, or only half of one."""
    return rng.choice(
        [
            lambda: rng.randbytes(rng.randrange(1, 600)),
            lambda: HTTP,
            lambda: b"POST /call HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + rng.randbytes(2000),
            lambda: pickle.dumps(Exploit()),
            lambda: struct.pack(">I", 60) + pickle.dumps(Exploit()).ljust(60, b"."),
            lambda: b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
            lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
            lambda: (HELLO + rng.randbytes(148))[: rng.randrange(1, 160)],
            lambda: HELLO + rng.randbytes(148),
            lambda: struct.pack(">I", rng.choice([0, 1, 31, 257, 65_536, 2**31, 2**32 - 1])) + rng.randbytes(40),
            lambda: b"",
        ]
    )()


def bomb(_rng: random.Random) -> bytes:
    """Four gigabytes are coming."""
    return b"\xff\xff\xff\xff\xe5"


async def open_and_wait(address: tuple[str, int], said: bytes) -> tuple[int, float]:
    """Say it, say no more, and wait until the other end has had enough."""
    began, heard = time.monotonic(), 0
    with suppress(ConnectionError):
        reader, writer = await asyncio.open_connection(*address)
        with suppress(ConnectionError):
            writer.write(said)
            while data := await reader.read(4096):
                heard += len(data)
        writer.transport.abort()
    return heard, time.monotonic() - began


async def openings(address: tuple[str, int], count: int, rng: random.Random, make: object) -> None:
    """So many, not too many at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> tuple[int, float]:
        async with gate:
            return await asyncio.wait_for(open_and_wait(address, make(rng)), PATIENCE)

    seen = await asyncio.gather(*(one() for _ in range(count)))
    heard, took = [each[0] for each in seen], sorted(each[1] for each in seen)
    tell(closed=len(seen), heard=sum(heard), longest=took[-1], median=took[len(took) // 2])


async def drip(address: tuple[str, int], until: float) -> tuple[int, int]:
    """A HELLO at one byte a second, and anew when the other end has had enough; counts how often, and what was said."""
    tries = heard = 0
    while time.monotonic() < until:
        tries += 1
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*address)
            over = asyncio.ensure_future(reader.read())
            for byte in itertools.cycle(HELLO):
                if over.done() or time.monotonic() > until:
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([over], timeout=1.0)
            if over.done():
                with suppress(ConnectionError):
                    heard += len(over.result())
            over.cancel()
            writer.transport.abort()
        await asyncio.sleep(0.2)
    return tries, heard


async def dripping(address: tuple[str, int], count: int, seconds: float) -> None:
    """So many slow ones, for so long."""
    until = time.monotonic() + seconds
    slow = [asyncio.ensure_future(drip(address, until)) for _ in range(count)]
    await asyncio.sleep(1.0)
    tell(connected=count)
    seen = await asyncio.gather(*slow)
    tell(tries=sum(each[0] for each in seen), heard=sum(each[1] for each in seen))


def main() -> None:
    """Be as many strangers as were asked for."""
    host, port, way, count, more = sys.argv[1:]
    address = host, int(port)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    if way == "drip":
        asyncio.run(dripping(address, int(count), float(more)))
    else:
        make = {"garbage": garbage, "bomb": bomb}[way]
        asyncio.run(openings(address, int(count), random.Random(int(more)), make))


if __name__ == "__main__":
    main()
