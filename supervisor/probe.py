"""Whether a program is ready, asked from outside: its port, or HTTP. Every question is bounded, in time and size."""

from __future__ import annotations

import asyncio
import math
import os
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from supervisor.command import HTTP_PORT, LAST_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ipc.messages.settings import CommandSettings

PROBE_TIMEOUT = 1.0
"""How long one question waits for its answer, seconds."""
PROBE_EVERY = 0.1
"""How long it is waited before the next one, seconds."""
MAX_LINE = 1024
"""The longest first line of an answer, bytes; nothing after it is read."""
_LOOPBACKS = ("127.0.0.1", "::1")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_FINE = range(200, 400)


class Probe(NamedTuple):
    """Where to ask, and for what; without a path it is enough that somebody listens."""

    hosts: tuple[str, ...]
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"http port {self.port}, {self.path}" if self.path else f"port {self.port}"


def probe_of(settings: CommandSettings, slot: int) -> Probe | None:
    """What to ask the worker of this seat; None: nothing."""
    if settings.tcp:
        return Probe(_LOOPBACKS, settings.tcp + slot)
    if settings.http:
        url = urlsplit(settings.http)
        hosts = _LOOPBACKS if url.hostname == "localhost" else (url.hostname or "",)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return Probe(hosts, (url.port or HTTP_PORT) + slot, path)
    return None


def most_seats(settings: CommandSettings) -> float:
    """For how many workers there are ports."""
    first = probe_of(settings, 0)
    return math.inf if first is None else LAST_PORT - first.port + 1


async def why_not(probe: Probe) -> str:
    """Ask once; why it is not ready, in words, or nothing if it is."""
    found = [await _why_not(host, probe) for host in probe.hosts]
    return "" if "" in found else found[0]


async def is_taken(probe: Probe) -> bool:
    """Whether somebody listens there already."""
    return not await why_not(probe._replace(path=""))


async def _why_not(host: str, probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT), _connected(host, probe.port) as (reader, writer):
            if _is_itself(writer):
                return f"nobody listens at {probe}"
            if not probe.path:
                return ""
            told = f"[{host}]" if ":" in host else host
            request = (
                f"GET {probe.path} HTTP/1.1\r\nHost: {told}:{probe.port}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
            )
            writer.write(request.encode())
            return _judge(await reader.readuntil(b"\n"))
    except TimeoutError:
        return f"no answer from {probe} in {PROBE_TIMEOUT:g} s"
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return f"{probe} answers, but not in HTTP"
    except (OSError, OverflowError) as error:  # the latter: there is no such port
        return f"{probe}: {os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error}"


def _judge(line: bytes) -> str:
    found = _STATUS.fullmatch(line)
    if found is None:
        return "it answers, but not in HTTP"
    return "" if int(found[1]) in _FINE else f"it answers with status {int(found[1])}"


@asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_LINE)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # to close in good order could mean to wait for who does not read
        with suppress(OSError):
            await writer.wait_closed()


def _is_itself(writer: asyncio.StreamWriter) -> bool:
    """Whether this end was given the very port that it asked for, and has connected to itself, as TCP allows."""
    return bool(writer.get_extra_info("sockname") == writer.get_extra_info("peername"))
