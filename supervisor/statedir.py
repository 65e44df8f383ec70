"""The state directory: whose it is, and the control socket in it."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ipc import control as asking
from supervisor.errors import StartError
from supervisor.trust import check_above, check_mode

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

_BACKLOG = 64
_LOOKS, _PAUSE = 50, 0.01


class AlreadyRunning(StartError):
    """Another supervisor has this state directory.

    `pid` is its process, 0 if it did not say; `config` its file, if it is another one.
    """

    def __init__(self, state_dir: Path, pid: int, config: str = "") -> None:
        other = f" and runs {config}; give this one a --state-dir of its own" if config else "; shunter stop ends it"
        super().__init__(f"already running: process {pid or 'unknown'} has {state_dir}{other}")
        self.pid = pid


@contextmanager
def held(state_dir: Path) -> Iterator[None]:
    """Have `state_dir` for this process alone. Raises AlreadyRunning, or StartError if it cannot be used.

    The lock decides, not a pid that may be somebody else's by now; the kernel lets go of it when this process ends.
    """
    with ExitStack() as stack:
        make_private(state_dir)
        path = state_dir / asking.LOCK
        try:
            # Without O_NONBLOCK the open of a named pipe would wait for somebody at its other end.
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise StartError(_planted(path, "a plain file", error.strerror)) from error
        stack.callback(os.close, fd)
        found = os.fstat(fd)
        # A second name elsewhere: what is written here would be written there.
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise StartError(_planted(path, "a plain file", f"user {found.st_uid}'s, {found.st_nlink} names"))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(state_dir, _holder(fd)) from None
        with suppress(OSError):  # a full disk costs the pid in the message above, no more
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        stack.callback(os.ftruncate, fd, 0)
        yield


def _holder(lock: int) -> int:
    """Who has the lock; 0 if nobody wrote it down. Whoever has just taken it is about to."""
    for _ in range(_LOOKS):
        if (holder := os.pread(lock, 32, 0).strip()).isdigit():
            return int(holder)
        time.sleep(_PAUSE)
    return 0


@contextmanager
def bound(state_dir: Path) -> Iterator[socket.socket]:
    """The control socket, listening; to be called by whoever holds the lock, for whom any other is stale."""
    path = state_dir / asking.SOCKET
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
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


@contextmanager
def links(directory: Path) -> Iterator[None]:
    """Have a private directory for the sockets of exec workers; to be called by whoever holds the lock.

    Sockets that a killed supervisor's workers left are removed before, and those of ours after.
    """
    make_private(directory)
    try:
        _remove_sockets(directory)
    except OSError as error:
        raise StartError(f"cannot use the directory {directory}: {error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            _remove_sockets(directory)
            directory.rmdir()


def sweep(directory: Path, living: Container[str]) -> None:
    """Remove the sockets that dead workers left; those with the names in `living` stay."""
    with suppress(OSError):  # they are in nobody's way, and the next sweep takes them
        _remove_sockets(directory, living)


def _remove_sockets(directory: Path, living: Container[str] = ()) -> None:
    for path in directory.iterdir():
        if path.name not in living and path.is_socket():
            path.unlink(missing_ok=True)


def make_private(directory: Path) -> None:
    """Have a state directory that only this user can enter. Raises StartError.

    One that others could write into is not made private but refused: what lies in it may be theirs.
    """
    what = f"the state directory {directory}"
    check_above(directory, what)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        hint = "; it is a symbolic link, name the directory itself" if directory.is_symlink() else ""
        raise StartError(f"cannot use {what}: {error.strerror}{hint}") from error
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            raise StartError(f"cannot use {what}: it belongs to another user (uid {found.st_uid}); name another one")
        check_mode(found, what, directory)
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
    logs = directory / "logs"
    if logs.is_symlink() or (logs.exists() and not logs.is_dir()):
        raise StartError(_planted(logs, "a directory", "a link or a file"))


def _remove_stale(path: Path) -> None:
    """Remove the socket that an earlier supervisor left behind; whoever holds the lock knows that it is dead."""
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise StartError(_planted(path, "a socket", f"user {found.st_uid}'s {stat.filemode(found.st_mode)}"))
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StartError(f"cannot replace the control socket {path}: {error.strerror}") from error


def _planted(path: Path, expected: str, found: str | None) -> str:
    return f"{path} should be {expected} of user {os.geteuid()} ({found}): look where it comes from, and remove it"
