"""Frames over a TCP connection on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipc.transport.stream import StreamCarrier

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

    from ipc.transport.base import End

SCHEME = "tcp://"


async def dial(address: str, end: End, largest: int) -> None:
    """Connect to `tcp://127.0.0.1:40123`; `end` is told as soon as the connection stands. Raises OSError."""
    host, _, port = address.removeprefix(SCHEME).rpartition(":")
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: StreamCarrier(end, largest), host, int(port))


async def listen(host: str, port: int, new_end: Callable[[], tuple[End, Lock]], largest: int) -> asyncio.Server:
    """Accept connections; each gets an end of its own. Raises OSError."""
    loop = asyncio.get_running_loop()

    def accepted() -> StreamCarrier:
        end, lock = new_end()
        return StreamCarrier(end, largest, lock)

    return await loop.create_server(accepted, host, port, backlog=128)
