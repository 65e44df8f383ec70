"""Unix sockets in the file system: names that fit, and whose the other end is."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_PATH = 107  # what a `sockaddr_un` holds
_UCRED = struct.Struct("3i")


class Credentials(NamedTuple):
    """Who the kernel says is at the other end: who connected, or who listened."""

    pid: int
    uid: int
    gid: int


def credentials(connection: socket.socket) -> Credentials:
    """The other end of a Unix socket. Raises OSError."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


@contextmanager
def fitting(path: str) -> Iterator[str]:
    """A name of `path` that fits into a socket address, however long the directory's name is. Raises OSError.

    Only absolute paths: an empty name, or one with a zero byte first, would be no file but a socket that anybody on
    this machine may take.
    """
    if not path.startswith("/") or "\0" in path:
        raise OSError(errno.EINVAL, "not an absolute path", path)
    with ExitStack() as stack:
        if len(os.fsencode(path)) > _LONGEST_PATH:
            directory, name = os.path.split(path)
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            path = f"/proc/self/fd/{fd}/{name}"
        yield path
