"""How often the kernel has ended somebody for want of memory: its counters, before and after."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.ending import Starved

LOOK = 1.0
"""How often the counters are looked at, seconds. Who is not buried within two looks was not who was killed: workers'
children are killed, too, and nobody tells of them."""
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class OutOfMemory:
    """Tells of each such end once. A control group counts its own; without one there is only the machine's count."""

    def __init__(self, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        own = [path for path in _own(proc, cgroups) if _count(path) is not None]
        self._counter = own[0] if own else proc / "vmstat"
        self._sure: Starved = "surely" if own else "probably"
        self._known = self._seen = _count(self._counter) or 0

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await anyio.sleep(LOOK)

    def look(self) -> None:
        """What had been counted at the look before and was not told of since is not told of any more."""
        self._known = max(self._known, self._seen)
        self._seen = _count(self._counter) or 0

    def struck(self) -> Starved:
        """Whether it struck of late, once more than this has told of: then that was who has just been killed."""
        if (_count(self._counter) or 0) <= self._known:
            return ""
        self._known += 1
        return self._sure


def _own(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Where this process's control group may have its count. Its path may be a container's, or that of its host."""
    with suppress(OSError, ValueError):
        for line in (proc / "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            inside = path.lstrip("/")
            if not controllers:
                yield from (cgroups / inside / "memory.events", cgroups / "memory.events")
            elif "memory" in controllers.split(","):
                yield from (cgroups / "memory" / inside / "memory.oom_control", cgroups / "memory/memory.oom_control")


def _count(path: Path) -> int | None:
    """None: nobody counts there."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            what, _, count = line.partition(" ")
            if what == "oom_kill":
                return int(count)
    return None
