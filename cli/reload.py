"""`shunter reload`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.orders import give
from ipc.messages.control import Reload

if TYPE_CHECKING:
    from pathlib import Path


def reload(state_dir: Path, *, as_json: bool = False) -> int:
    """Have the running service read its configuration again; returns when what is new serves, or cannot."""
    return give(state_dir, Reload(), as_json=as_json)
