"""`shunter restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import Restart, RestartWorker

if TYPE_CHECKING:
    from pathlib import Path


def restart(state_dir: Path, what: str, *, as_json: bool = False) -> int:
    """Have a worker, those of a group or all replaced; returns when the last successor serves."""
    # Only a worker's name has a dash.
    return give(state_dir, RestartWorker(what) if "-" in what else Restart(what), as_json=as_json)
