"""`shunter stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import Stop

if TYPE_CHECKING:
    from pathlib import Path


def stop(state_dir: Path, *, force: bool, as_json: bool = False) -> int:
    """Have everything drained, or ended at once; returns when the supervisor is gone."""
    return give(state_dir, Stop(force=force), as_json=as_json)
