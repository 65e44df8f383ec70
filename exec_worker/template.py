"""A warm template: the application imported once, in a process that serves nobody and has workers forked from it.

It has one thread and no key. Of what belongs to one worker it holds nothing when it forks another.
"""

from __future__ import annotations

import gc
import logging
import os
import stat
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exec_worker.loader import LoadError, load
from ipc.birth import fork_twice, move_in, wait_for_adoption
from ipc.hardening import open_descriptors
from ipc.log import Log
from ipc.logbridge import install, nothing
from ipc.messages.lifeline import Broken, Preload, Ready
from ipc.parent import Inherited, Parent
from ipc.printed import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exec_worker.binding import Binding
    from ipc.birth import Belongings
    from ipc.hardening import Termination

_SETTLING = 2.0
"""How long threads that a fork has ended may take to disappear, seconds."""
_GLANCE = 0.002


class Newborn(NamedTuple):
    """What a forked worker starts with."""

    parent: Parent
    given: Inherited
    termination: Termination
    nodes: dict[str, Binding]


class _Warm(NamedTuple):
    nodes: dict[str, Binding]
    files: frozenset[int]
    """Descriptors that the application has opened: its workers have them too."""


def serve(parent: Parent, given: Inherited) -> Newborn:
    """Import the nodes, then fork a worker for each order. Returns in the workers alone."""
    told = parent.first(Preload)
    os.close(given.page)
    log = Log(told.name, told.log)
    bridge = install(log, told.log.level)
    stamp(nothing)
    try:
        warm = _warm_up(told)
    except LoadError as error:
        parent.say(Broken(str(error), error.traceback or traceback.format_exc()))
        raise SystemExit(1) from None
    parent.say(Ready())
    while True:
        belongings = parent.order()
        if fork_twice(wait_for_adoption):
            break
        for descriptor in belongings:
            os.close(descriptor)
    logging.getLogger().removeHandler(bridge)
    parent.close()
    return _begin(given, belongings, warm)


def _begin(template: Inherited, belongings: Belongings, warm: _Warm) -> Newborn:
    """Become a worker like any other. Its user it has already, and could not become it again."""
    move_in(belongings)
    confinement = template.confinement._replace(uid=None, gid=None)
    given = Inherited(belongings.lifeline, belongings.page, template.parent, confinement=confinement)
    parent, termination = Parent.begin(given, warm.files)
    return Newborn(parent, given, termination, warm.nodes)


def _warm_up(told: Preload) -> _Warm:
    before = _opened()
    nodes = load(told.settings.nodes, told.settings.sys_path)
    if told.settings.forwards:
        import exec_worker.onward  # noqa: F401, PLC0415 - its workers need it, and find it here
    opened = {fd: status for fd, status in _opened().items() if fd not in before}
    if shared := [_target(fd) for fd, status in opened.items() if not _is_file(status)]:
        raise LoadError(_unfit("opens what workers cannot share", shared))
    if threads := _threads():
        raise LoadError(_unfit("starts threads, which a forked worker would not have", threads))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or each worker would write the rest of a line again
    gc.collect()
    gc.freeze()  # no collection in a worker writes to what was made here, so it stays shared
    return _Warm(nodes, frozenset(opened))


def _unfit(does: str, what: Iterable[str]) -> str:
    return (
        f"the application cannot be preloaded: importing it {does}: {', '.join(sorted(what))}. "
        "Do that in a function with @on_worker_start, or leave out preload"
    )


def _threads() -> list[str]:
    """The threads that are there beside this one, by name, once a fork has ended those that it ends.

    Libraries that compute with threads of their own end them before a fork and make them again when they are used.
    """
    main = threading.main_thread()
    if ours := [thread.name for thread in threading.enumerate() if thread is not main]:
        return ours
    if not _other_tasks():
        return []
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    until = time.monotonic() + _SETTLING
    while (names := _other_tasks()) and time.monotonic() < until:
        time.sleep(_GLANCE)
    return names


def _other_tasks() -> list[str]:
    tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid()]
    return [name for task in tasks if (name := _comm(task))]


def _comm(task: Path) -> str:
    try:
        return (task / "comm").read_text(errors="replace").strip()
    except OSError:  # it has just ended
        return ""


def _opened() -> dict[int, os.stat_result]:
    found = {}
    for fd in open_descriptors():
        with suppress(OSError):  # that of the list itself, whose number is the next to be given out
            found[fd] = os.fstat(fd)
    return found


def _is_file(status: os.stat_result) -> bool:
    """Something that several processes can have open: no connection, no pipe, no event loop."""
    return any(kind(status.st_mode) for kind in (stat.S_ISREG, stat.S_ISDIR, stat.S_ISCHR, stat.S_ISBLK))


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - no path: `socket:[1234]`
    except OSError:
        return f"descriptor {fd}"
