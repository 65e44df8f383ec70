"""The state directory: whose it is, and the control socket in it."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ipc import control as asking
from supervisor.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BACKLOG = 64


class AlreadyRunning(StartError):
    """Another supervisor has this state directory; `pid` is its process, 0 if it did not say."""

    def __init__(self, state_dir: Path, pid: int) -> None:
        super().__init__(f"already running: process {pid or 'unknown'} has {state_dir}")
        self.pid = pid


@contextmanager
def held(state_dir: Path) -> Iterator[None]:
    """Have `state_dir` for this process alone. Raises AlreadyRunning, or StartError if it cannot be used.

    The lock decides, not a pid that may be somebody else's by now; the kernel lets go of it when this process ends.
    """
    with ExitStack() as stack:
        try:
            _make_private(state_dir)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(state_dir / asking.LOCK, flags, 0o600)
        except OSError as error:
            raise StartError(f"cannot use the state directory {state_dir}: {error}") from error
        stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).strip()
            raise AlreadyRunning(state_dir, int(holder) if holder.isdigit() else 0) from None
        with suppress(OSError):  # a full disk costs the pid in the message above, no more
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        stack.callback(os.ftruncate, fd, 0)
        yield


@contextmanager
def bound(state_dir: Path) -> Iterator[socket.socket]:
    """The control socket, listening; to be called by whoever holds the lock, for whom any other is stale."""
    path = state_dir / asking.SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                with asking.address(state_dir) as address:
                    listener.bind(address)
            finally:
                os.umask(mask)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise StartError(f"cannot make the control socket {path}: {error}") from error
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


def _make_private(directory: Path) -> None:
    """Have a directory that only this user can enter. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            raise PermissionError(f"it belongs to another user (uid {found.st_uid})")
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
