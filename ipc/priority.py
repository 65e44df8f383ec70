"""Three classes of calls. Which goes first, and by how much, `ipc.flow.line` says."""

from __future__ import annotations

from typing import Literal

Priority = Literal["high", "normal", "low"]
"""The class of a call, as people write it."""
HIGH, NORMAL, LOW = range(3)
"""The same as numbers, which is how calls have it."""
RANK: dict[Priority, int] = {"high": HIGH, "normal": NORMAL, "low": LOW}
