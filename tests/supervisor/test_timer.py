"""Time that passes only while this process runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from supervisor.timer import SLICE, Timer

if TYPE_CHECKING:
    from collections.abc import Callable


class Away(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward, as if this process had been stopped meanwhile."""

    ahead = 0.0

    def time(self) -> float:
        return time.monotonic() + self.ahead


@pytest.mark.parametrize(("seconds", "away", "rings"), [(SLICE + 0.1, 0.0, True), (SLICE + 30.0, 3600.0, False)])
def test_the_time_for_which_this_process_was_stopped_does_not_count(seconds: float, away: float, rings: bool) -> None:
    loop, rung = Away(), []

    def come_back() -> None:
        loop.ahead += away
        if not rings:
            loop.call_later(0.1, loop.stop)

    def ring() -> None:
        rung.append(True)
        loop.stop()

    try:
        timer = Timer(loop, seconds, ring)
        loop.call_later(0.01, come_back)
        loop.run_forever()
        assert bool(rung) == rings
        assert (timer.left > 0) != rings
    finally:
        timer.cancel()
        loop.close()


def test_one_that_is_cancelled_never_rings() -> None:
    rung: list[bool] = []

    async def story(sleep: Callable[[float], object] = asyncio.sleep) -> None:
        Timer(asyncio.get_running_loop(), 0.01, lambda: rung.append(True)).cancel()
        await asyncio.sleep(0.05)

    asyncio.run(story())
    assert rung == []
