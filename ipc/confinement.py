"""What one child is told to do to itself, beside what every child does. Pure; no secret: it stands in its arguments."""

from __future__ import annotations

from typing import NamedTuple

PRIVATE = 0o077
"""The umask of every child whose group says nothing: what it writes is for its own user alone."""


class Confinement(NamedTuple):
    """How far a child is shut off from its neighbours."""

    umask: int = PRIVATE
    uid: int | None = None
    """The user it becomes, with `gid` as its only group; None: it stays who the supervisor is."""
    gid: int | None = None
    debug: bool = False
    """Whether debuggers and profilers of the same user may look into it."""

    def arguments(self) -> list[str]:
        """The flags that say so."""
        argv = ["--umask", str(self.umask)]
        if self.uid is not None and self.gid is not None:
            argv += ["--uid", str(self.uid), "--gid", str(self.gid)]
        return [*argv, "--allow-debug", "1"] if self.debug else argv
