"""An application of which there is a new edition now and then. It imports what a usual one does."""

from __future__ import annotations

import time

import fastapi  # noqa: F401 - for the time its import takes

from exec_worker import node

EDITION = 0
NAP = 0.005


@node(stage="core")
def nap() -> int:
    """Keep this worker and no core; say of which edition it is."""
    time.sleep(NAP)
    return EDITION
