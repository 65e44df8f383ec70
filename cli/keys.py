"""`shunter keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import RotateKeys

if TYPE_CHECKING:
    from pathlib import Path


def rotate(state_dir: Path, *, as_json: bool = False) -> int:
    """Have every worker given new keys; returns when nobody has the old ones any more."""
    return give(state_dir, RotateKeys(), as_json=as_json)
