"""Files that decide what runs: read only if nobody but their owner can have written them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.errors import ConfigError
from supervisor.trust import ANY, WRITE, check_directory, check_mode, check_owner, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_CONFIG = 1024 * 1024
"""The largest configuration file, bytes."""
MAX_FILES = 65_536
"""How many files and directories an application's package may have."""
_IMPORTED = (".py", ".pyc", ".so")
MIN_SECRET = 32
"""The shortest root secret, bytes."""
MAX_SECRET = 4096
"""The longest root secret, bytes."""
MIN_DIFFERENT = 8
"""How many different bytes a root secret has at least: thirty-two random ones with fewer do not happen."""


def read_config(path: Path) -> str:
    """The text of a configuration file; ConfigError if it or its directory could be somebody else's work."""
    trusting()  # so that a wrong answer is told, whether it is needed or not
    what = f"the configuration file {path}"
    # Who can write beside the configuration can plant a module, for that directory is importable. Of a link the
    # place of what it leads to counts as well.
    for directory in dict.fromkeys((path.parent, path.resolve().parent)):
        check_directory(directory, f"the configuration's directory {directory}")
    data = _read(path, what, limit=MAX_CONFIG, forbidden=WRITE)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{path}:{line}") from None


def check_modules(directory: Path, names: Iterable[str]) -> None:
    """ConfigError if a module or package of the application could be somebody else's work.

    `names` are those that are imported; what of them does not lie in `directory` is not ours to judge.
    """
    for top in dict.fromkeys(name.partition(".")[0] for name in names):
        package, module = directory / top, directory / f"{top}.py"
        if package.is_dir():
            what = f"the application's package {package}"
            check_directory(package.resolve(), what)
            _check_below(package.resolve(), what)
        elif module.exists():
            what = f"the application's module {module}"
            check_owner(module.stat(), what, module)
            check_mode(module.stat(), what, module)
            if (compiled := directory / "__pycache__").is_dir():
                check_directory(compiled.resolve(), f"the directory {compiled}")
                _check_below(compiled, f"the directory {compiled}")


def _check_below(package: Path, what: str) -> None:
    """ConfigError if others could have written what is imported below a package, or could plant it there.

    What Python compiled before counts: it runs instead of the source. A directory that a link leads to is looked at,
    what lies in it is not: it may be anything.
    """
    if trusting():
        return
    fine: set[tuple[int, ...]] = set()  # who is in a group is dear to find out, and most files have the same
    try:
        for entry in _below(package, what):
            path = Path(entry.path)
            part = f"{path}, in {what},"
            if entry.is_symlink() and entry.is_dir():
                check_directory(path.resolve(), part)
                continue
            if not entry.is_dir() and not (entry.name.endswith(_IMPORTED) and entry.is_file()):
                continue
            status = entry.stat()
            alike = (status.st_uid, status.st_gid, status.st_mode, status.st_dev)
            if alike not in fine:
                check_owner(status, part, path)
                check_mode(status, part, path)
                fine.add(alike)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None


def _below(package: Path, what: str) -> Iterator[os.DirEntry[str]]:
    """Everything below a directory, links not followed; ConfigError for more than `MAX_FILES`. Raises OSError."""
    waiting, count = [os.fspath(package)], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                if count > MAX_FILES:
                    raise ConfigError(
                        f"{what} has more than {MAX_FILES} files, too many to look at",
                        hint="keep data, and environments of Python, out of packages that are imported",
                    )
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                yield entry


def read_secret(path: Path) -> bytes:
    """The root secret, every byte of the file; ConfigError unless long, random and its owner's alone."""
    what = f"the secret file {path}"
    data = _read(path, what, limit=MAX_SECRET, forbidden=ANY)
    make = f"make one with: (umask 077; head -c 32 /dev/urandom > {path})"
    if len(data) < MIN_SECRET:
        raise ConfigError(f"{what} has {len(data)} bytes, {MIN_SECRET} are the least", hint=make)
    if len(set(data)) < MIN_DIFFERENT:
        raise ConfigError(f"{what} is not random: it repeats the same few bytes", hint=make)
    return data


def _read(path: Path, what: str, *, limit: int, forbidden: int) -> bytes:
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
        check_owner(status, what, path, forbidden)
        check_mode(status, what, path, forbidden)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ConfigError(f"{what} is larger than {limit} bytes")
    return data
