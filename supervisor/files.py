"""Files that decide what runs: read only if nobody but their owner can have written them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from supervisor.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONFIG = 1024 * 1024
"""The largest configuration file, bytes."""
MIN_SECRET = 32
"""The shortest root secret, bytes."""
MAX_SECRET = 4096
"""The longest root secret, bytes."""
MIN_DIFFERENT = 8
"""How many different bytes a root secret has at least: thirty-two random ones with fewer do not happen."""


def read_config(path: Path) -> str:
    """The text of a configuration file; ConfigError if it or its directory could be somebody else's work."""
    what = f"the configuration file {path}"
    _check_directory(path.parent)
    data = _read(path, what, limit=MAX_CONFIG, forbidden=stat.S_IWGRP | stat.S_IWOTH, mend="chmod go-w")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{path}:{line}") from None


def read_secret(path: Path) -> bytes:
    """The root secret, every byte of the file; ConfigError unless long, random and its owner's alone."""
    what = f"the secret file {path}"
    data = _read(path, what, limit=MAX_SECRET, forbidden=stat.S_IRWXG | stat.S_IRWXO, mend="chmod 600")
    make = f"make one with: (umask 077; head -c 32 /dev/urandom > {path})"
    if len(data) < MIN_SECRET:
        raise ConfigError(f"{what} has {len(data)} bytes, {MIN_SECRET} are the least", hint=make)
    if len(set(data)) < MIN_DIFFERENT:
        raise ConfigError(f"{what} is not random: it repeats the same few bytes", hint=make)
    return data


def _read(path: Path, what: str, *, limit: int, forbidden: int, mend: str) -> bytes:
    try:
        # Without O_NONBLOCK the open of a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{what} cannot be opened: {error.strerror}") from None
    try:
        # What is judged is the open file, not its name, which could stand for another one a moment later.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what} is not a regular file")
        _check(status, path, what, forbidden, mend)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ConfigError(f"{what} is larger than {limit} bytes")
    return data


def _check_directory(path: Path) -> None:
    """Who can write beside the configuration can plant a module, for that directory is importable."""
    what = f"the configuration's directory {path}"
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None
    _check(status, path, what, stat.S_IWGRP | stat.S_IWOTH, "chmod go-w")


def _check(status: os.stat_result, path: Path, what: str, forbidden: int, mend: str) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigError(
            f"{what} belongs to user {status.st_uid}, who could change what runs here",
            hint=f"it must belong to root or to user {os.geteuid()}, who starts Shunter",
        )
    if status.st_mode & forbidden:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{what} has mode {mode:04o}: others than its owner have access", hint=f"{mend} {path}")
