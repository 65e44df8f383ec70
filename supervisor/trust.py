"""Who could have changed a file: only root and this user may be able to, for what it says is what runs.

A group may write if nobody else is in it. On Debian and its like every user has a group of the same name and files are
made with umask 002: they are all writable by a group of one, and safe. The system's list of users is believed in this,
as OpenSSH there believes it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from supervisor.errors import ConfigError

WRITE = stat.S_IWGRP | stat.S_IWOTH
"""What strangers may not have of a configuration."""
ANY = stat.S_IRWXG | stat.S_IRWXO
"""What nobody but the owner may have of a secret, private group or not."""


TRUST = "SHUNTER_TRUST_FILES"
"""The environment variable by which an operator answers for all of it: in a container, say, where volumes often belong
to somebody, or everybody, and there is nobody else to fear. Secrets are checked all the same."""
_UID_MAP, _OVERFLOW_UID = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")
_ALL_USERS = 2**32 - 1
_ELSE = f"; where nobody else can reach it, as in a container, {TRUST}=1 trusts it as it is"


def trusting() -> bool:
    """Whether the operator answers for files that others may change. ConfigError for anything but 1."""
    said = os.environ.get(TRUST)
    if said not in {None, "1"}:
        raise ConfigError(f"the environment variable {TRUST} is {said!r}", hint="set it to 1, or leave it out")
    return said == "1"


def check_owner(status: os.stat_result, what: str, path: Path, forbidden: int = WRITE) -> None:
    """ConfigError if it is somebody else's."""
    if status.st_uid not in {0, os.geteuid()} and not (forbidden == WRITE and trusting()):
        otherwise = _ELSE if forbidden == WRITE else ""
        raise ConfigError(
            f"{what} belongs to user {status.st_uid}, who could change what runs here",
            hint=f"start Shunter as that user, or give it away: chown {os.geteuid()} {path}{otherwise}",
        )


def check_mode(status: os.stat_result, what: str, path: Path, forbidden: int = WRITE) -> None:
    """ConfigError if others have one of the `forbidden` permissions."""
    found = status.st_mode & forbidden
    if forbidden == WRITE and found & stat.S_IWGRP and is_private(status.st_gid):
        found &= ~stat.S_IWGRP
    if found and forbidden == WRITE and (is_read_only(path) or trusting()):
        return
    if found:
        mend = "chmod go-w" if forbidden == WRITE else "chmod 600"
        raise ConfigError(
            f"{what} has mode {stat.S_IMODE(status.st_mode):04o}: others than its owner have access",
            hint=f"{mend} {path}{_ELSE if forbidden == WRITE else ''}",
        )


def check_directory(path: Path, what: str) -> None:
    """ConfigError if others could plant a file in a directory, or put another directory in its place."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None
    check_owner(status, what, path)
    check_mode(status, what, path)
    check_above(path, what)


def check_above(path: Path, what: str) -> None:
    """ConfigError if others could put something else in the place of `path`, which need not exist yet."""
    nobody = _nobody()
    for above in path.resolve().parents:
        try:
            status = above.stat()
        except OSError:
            continue  # it is yet to be made, or not ours to look at and so not ours to change
        above_it = f"{above}, above {what},"
        if status.st_uid != nobody:  # somebody outside this container, whom its users cannot be
            check_owner(status, above_it, above)
        if not status.st_mode & stat.S_ISVTX:  # in /tmp everybody makes files, but nobody renames those of others
            check_mode(status, above_it, above)


def is_read_only(path: Path) -> bool:
    """Whether nobody can write there, whatever the mode says: so Kubernetes mounts configuration."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def is_private(gid: int) -> bool:
    """Whether nobody but root and this user is known to be in a group."""
    try:
        listed = grp.getgrgid(gid).gr_mem
    except KeyError:
        return False
    members = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid}
    for name in listed:
        with suppress(KeyError):
            members.add(pwd.getpwnam(name).pw_uid)
    return bool(members) and members <= {0, os.geteuid()}


def _nobody() -> int | None:
    """The number that stands for users of another namespace; None where there are none: it is a user like others."""
    try:
        mapped = _UID_MAP.read_text(encoding="ascii").split()[2::3]
        whole = sum(map(int, mapped)) >= _ALL_USERS
        return None if whole else int(_OVERFLOW_UID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
