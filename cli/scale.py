"""`shunter scale`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import Scale

if TYPE_CHECKING:
    from pathlib import Path


def scale(state_dir: Path, group: str, workers: int, *, as_json: bool = False) -> int:
    """Have that many workers in a group; returns when new ones serve, or when those that are too many have left."""
    return give(state_dir, Scale(group, workers), as_json=as_json)
