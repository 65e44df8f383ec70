"""One timer for all that is looked at later: it rings at the earliest time, once."""

from __future__ import annotations

import asyncio
import math

import anyio

from exec_worker.alarm import Alarm
from ipc.clock import now

FAR = 3600.0
PATIENCE = 30.0


async def test_it_rings_at_the_earliest_of_its_times_and_can_be_set_again() -> None:
    rang = asyncio.Event()
    alarm = Alarm(rang.set)
    for _ in range(2):
        alarm.set(now() + FAR)
        alarm.set(now())
        alarm.set(now() + 2 * FAR)  # later than what it is set to
        with anyio.fail_after(PATIENCE):
            await rang.wait()
        rang.clear()


async def test_it_rings_in_the_loop_in_which_it_was_set_and_once() -> None:
    rings: list[asyncio.AbstractEventLoop] = []
    rang = asyncio.Event()

    def ring() -> None:
        rings.append(asyncio.get_running_loop())
        rang.set()

    alarm = Alarm(ring)
    assert alarm.loop is None
    alarm.set(math.inf)  # never: there is nothing to look at
    assert alarm.loop is None
    alarm.set(now() + 0.005)
    alarm.set(now())
    with anyio.fail_after(PATIENCE):
        await rang.wait()
    await anyio.sleep(0.02)
    assert rings == [alarm.loop] == [asyncio.get_running_loop()]
