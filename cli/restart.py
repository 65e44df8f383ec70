"""`shunter restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import Restart

if TYPE_CHECKING:
    from pathlib import Path


def restart(state_dir: Path, group: str) -> int:
    """Have the workers of one group or of all replaced; returns when the last successor serves."""
    return give(state_dir, Restart(group))
