"""Frames over a Unix socket, between processes of one user, in a directory that only this user can enter."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ipc.sockname import credentials, fitting
from ipc.stats import refuse
from ipc.transport.stream import StreamCarrier
from ipc.wire.frame import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

    from ipc.transport.base import End

SCHEME = "unix://"


def _is_ours(sock: socket.socket) -> bool:
    """Whether the other end runs as the user that this process runs as. Both ends ask."""
    if credentials(sock).uid == os.geteuid():
        return True
    refuse(Refusal.USER)
    return False


class _Accepted(StreamCarrier):
    """A connection that anybody may have made who could reach the socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; end it at once, without a word, if somebody else is there."""
        if _is_ours(transport.get_extra_info("socket")):
            super().connection_made(transport)
        else:
            self.refused(transport)


async def dial(address: str, end: End, largest: int) -> None:
    """Connect to `unix:///directory/name.sock`; `end` is told as soon as the connection stands. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _connect(sock, address)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: StreamCarrier(end, largest), sock=sock)
    except BaseException:
        sock.close()
        raise


def _connect(sock: socket.socket, address: str) -> None:
    """At once or not at all: it stands, nobody is there, or there is no room in the listener's queue."""
    sock.setblocking(False)
    with fitting(address.removeprefix(SCHEME)) as path:
        sock.connect(path)
    if not _is_ours(sock):
        raise PermissionError(errno.EPERM, "another user listens there", address)


async def listen(path: str, new_end: Callable[[], tuple[End, Lock]], largest: int) -> asyncio.AbstractServer:
    """Accept connections at `path`, which no living worker has. Raises OSError."""
    loop = asyncio.get_running_loop()

    def accepted() -> _Accepted:
        end, lock = new_end()
        return _Accepted(end, largest, lock)

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)  # the mode that the file gets
        with fitting(path) as short:
            remove(short)
            sock.bind(short)
        return await loop.create_unix_server(accepted, sock=sock, backlog=128)
    except BaseException:
        sock.close()
        raise


def remove(path: str) -> None:
    """Remove a socket that is there; nothing else, so that a path that was mistaken costs nobody a file."""
    found = Path(path)
    with suppress(OSError):  # `bind` says it of what could not be removed
        if stat.S_ISSOCK(found.lstat().st_mode):
            found.unlink()
