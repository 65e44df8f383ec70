"""Who may give orders over the control socket: this user and root, but none of the workers."""

from __future__ import annotations

import os
import select
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ipc.messages.control import Refused, encode
from ipc.sockname import credentials

if TYPE_CHECKING:
    from collections.abc import Collection

_MAX_ANCESTORS = 1000
_SO_PEERPIDFD = 77  # since Linux 6.5


def refusal(client: socket.socket, managed: Collection[int]) -> str | None:
    """Why this client may not ask anything; None if it may."""
    pid, uid, _gid = credentials(client)
    if uid not in {0, os.geteuid()}:
        return "this is another user's service"
    try:
        with closing(_PidFd(client, pid)) as identity:
            if descends(pid, managed):
                return "workers may not give orders"
            # Had it ended meanwhile, its number might be that of somebody harmless.
            return None if identity.alive() else "who asks is gone"
    except (OSError, ValueError):
        return "it cannot be told who asks, for /proc hides who started it (hidepid): ask as root, or send signals"


def send_away(client: socket.socket, why: str) -> None:
    """Say why, without a wait. Who is hung up on then finds it even if it was still about to speak."""
    with suppress(OSError):
        client.send(encode(Refused(why)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def descends(pid: int, managed: Collection[int]) -> bool:
    """Whether `pid` is a worker, or was started by one or by this process. Raises OSError if that cannot be told."""
    for _ in range(_MAX_ANCESTORS):
        parent, group, session = _family(pid)
        if {pid, group, session} & set(managed):
            return True
        # Also as PID 1: in a container it adopts what workers leave behind, while those who are let in from outside
        # have no parent at all.
        if parent == os.getpid():
            return True
        if parent <= 1:
            return False
        pid = parent
    return True


def _family(pid: int) -> tuple[int, int, int]:
    """Parent, process group and session of a process."""
    after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    parent, group, session = map(int, after_name[1:4])
    return parent, group, session


class _PidFd:
    """The process at the other end, and not the one that has its number later."""

    def __init__(self, client: socket.socket, pid: int) -> None:
        try:
            self._fd = client.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:  # an older kernel
            self._fd = os.pidfd_open(pid)

    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        os.close(self._fd)
