"""A container as some are: one directory that can be written, no /dev/shm, and a /proc that says little of others.

Every Python process that finds this on its path is in it, for all it does by way of Python.
"""

import errno
import os
import re
import sys

WRITABLE = os.environ.get("CONTAINER_WRITABLE", "/nowhere")
"""Workers do not inherit the variable, and write nothing."""
SHARED = "/dev/shm"  # noqa: S108 - nothing is made there, that is the point
HIDDEN = re.compile(r"/proc/\d+/(statm|status|task|fd|environ|maps|smaps_rollup)")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"})


def refuse(code: int, path: str) -> None:
    raise OSError(code, os.strerror(code), path)


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event not in CHANGES and event not in {"open", "os.listdir", "os.scandir"}:
        return
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return  # by descriptor: whoever has it was allowed to
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - pathlib itself opens what it asks about
    if name.startswith(SHARED) or (HIDDEN.match(name) and name.split("/")[2] != str(os.getpid())):
        refuse(errno.ENOENT, name)
    flags = arguments[2] if event == "open" else WRITES
    writes = event in CHANGES or (event == "open" and isinstance(flags, int) and bool(flags & WRITES))
    if writes and not name.startswith((f"{WRITABLE}/", "/dev/", "/proc/self/")) and name != WRITABLE:
        refuse(errno.EROFS, name)


sys.addaudithook(watch)
