"""A worker's own word that its event loop turns, left where its supervisor can read it without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from ipc.scoreboard import Scoreboard

BEAT = 0.5
"""How often it is said, seconds. From a thread beside the loop it would be said of a loop that stands still, too."""


def beat(loop: asyncio.AbstractEventLoop, page: Scoreboard) -> None:
    """Say it from now on; to be called in the thread of `loop`."""
    page.beat()
    loop.call_later(BEAT, beat, loop, page)
