"""A control group for each worker, where they were delegated: what it starts ends with it, wherever it fled."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from supervisor import aftermath
from supervisor.delegation import delegated
from supervisor.events import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.names import WorkerName
    from supervisor.events import Event

PREFIX = "shunter."
END_TIME = 10.0
"""How long it is waited at the end of a service for what was killed, seconds: the kernel may be unable to end one."""


def of_service(
    state_dir: Path, mark: str, tell: Callable[[Event], None], find: Callable[[], Path | None] = delegated
) -> Cgroups | None:
    """Those of one life of the service that has this state directory; None if nobody delegated any.

    To be called by whoever holds the lock of the state directory: what earlier lives left behind is removed, if
    nobody is in it.
    """
    above = find()
    if above is None:
        return None
    service = PREFIX + hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]
    with suppress(OSError):
        for stale in above.glob(f"{service}.*"):
            aftermath.remove(str(stale))
    path = above / f"{service}.{mark}"
    try:
        path.mkdir()
    except OSError as error:
        tell(Trouble(f"no control groups for workers, though they were delegated: {path}: {error.strerror}"))
        return None
    return Cgroups(path, tell)


class Cgroups:
    """In `path` there is one for each process that was taken in. No controllers are enabled, and none are needed."""

    def __init__(self, path: Path, tell: Callable[[Event], None]) -> None:
        self.path = path
        self._tell = tell
        self._of: dict[int, str] = {}
        self._leaving: list[str] = []
        """Groups whose workers are dead, and that were not empty when it was last looked."""
        self._failed = False

    def take_in(self, pid: int, name: WorkerName) -> None:
        """From now on whatever it starts is in a group of its own. It has run none but our code so far.

        Its number is its own: it is a child that was not reaped.
        """
        path = self.path / str(name)
        if str(path) in self._leaving:  # one before it had that name, and is gone perhaps by now
            self.sweep()
        try:
            path.mkdir()
            (path / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except ProcessLookupError:  # it has ended already
            aftermath.remove(str(path))
        except OSError as error:
            aftermath.remove(str(path))
            if not self._failed:  # once: the next one meets the same
                self._failed = True
                self._tell(Trouble(f"{name} has no control group, what flees from it may outlive it: {error}"))
        else:
            self._of[pid] = str(path)

    def kill(self, pid: int) -> None:
        """This process has ended: all that is left in its group ends, too."""
        if (path := self._of.get(pid)) is not None:
            aftermath.kill(path)

    def forget(self, pid: int) -> None:
        """It was reaped: its group goes as soon as it is empty."""
        if (path := self._of.pop(pid, None)) is not None:
            self._leaving.append(path)
            self.sweep()

    def sweep(self) -> None:
        """Some process has ended, perhaps the last of a group."""
        for path in self._leaving:
            aftermath.kill(path)  # without `cgroup.kill` somebody may have been too quick
        self._leaving = [path for path in self._leaving if not aftermath.remove(path)]

    def close(self) -> None:
        """Nothing of the service runs any more, or is to."""
        if not aftermath.clear(str(self.path), END_TIME):
            self._tell(Trouble(f"what the kernel cannot end is left in {self.path}"))
