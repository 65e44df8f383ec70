"""The listening socket: bound once, before anything is started, and handed to every web worker."""

from __future__ import annotations

import errno
import os
import socket

from supervisor.errors import StartError

BACKLOG = 2048
"""Connections the kernel keeps while no worker has taken them yet."""
_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Why an address is none of this machine's."""


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens; port 0 takes a free one. Raises StartError, naming host and port.

    A name may stand for addresses that this machine does not have, as `localhost` does without IPv6: the first that
    it has is taken.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartError(f"cannot listen on {_shown(host, port)}: no such host ({error})") from error
    fault = OSError(errno.EADDRNOTAVAIL, "")
    for family, kind, protocol, _name, address in found:
        try:
            return _bound(family, kind, protocol, address)
        except OSError as error:
            fault = error
            if error.errno not in _ABSENT:
                break
    raise StartError(f"cannot listen on {_shown(host, port)}: {_why(fault)}") from fault


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections still linger is free all the same.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def port_of(listener: socket.socket) -> int:
    """The port it really has."""
    return int(listener.getsockname()[1])


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or choose another port"
        case errno.EACCES:
            return "ports below 1024 need privileges; choose a higher one"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return "this machine has no such address"
        case _:
            return os.strerror(error.errno or 0)
