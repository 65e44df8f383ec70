"""An application that is there, and no more."""

from __future__ import annotations

from exec_worker import node


@node(stage="core")
def nothing() -> None:
    """Do it."""
