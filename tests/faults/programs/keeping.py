"""Clients that keep their connections, and count what a service loses for them: resets, answers with 5xx."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Keeping:
    """So many clients on `port`, each with one request after the other and `pause` between, seconds."""

    port: int
    paths: tuple[str, ...]
    clients: int = 8
    pause: float = 0.005
    over: bool = False
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How often which status and body came."""
    lost: list[str] = field(default_factory=list)
    """What became of requests that were not answered."""
    slowest: float = 0.0

    @property
    def bad(self) -> list[tuple[int, str]]:
        return [answer for answer in self.answers if answer[0] != 200]

    @property
    def count(self) -> int:
        return sum(self.answers.values())

    async def go(self) -> None:
        """Ask until it is over."""
        await asyncio.gather(*(self._one(number) for number in range(self.clients)))

    async def _one(self, number: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.over:
            path = self.paths[number % len(self.paths)]
            number += 1
            began = time.monotonic()
            if connection is not None and connection[0].at_eof():  # any client looks, before it asks
                connection[1].close()
                connection = None
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                async with asyncio.timeout(60):
                    keep = await self.ask(*connection, path)
            except (OSError, EOFError, TimeoutError) as error:
                self.lost.append(f"{path}: {error!r} after {time.monotonic() - began:.3f} s")
                keep = False
            self.slowest = max(self.slowest, time.monotonic() - began)
            if not keep and connection is not None:
                connection[1].close()
                connection = None
            await asyncio.sleep(self.pause)
        if connection is not None:
            connection[1].close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bool:
        """One request; whether another may follow on this connection."""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = {}
        for line in head.splitlines()[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(fields["content-length"]))
        self.answers[int(head.split(" ", 2)[1]), body.decode()] += 1
        return fields.get("connection", "").lower() != "close"
