"""Workers die at random moments under load, and nobody is told anything that is not so."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from history import NEVER_BEGUN
from scene import PRELOADED, Nemesis

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

SOAK = "SHUNTER_SOAK" in os.environ
KILLS = 1000 if SOAK else 20
"""In each kind of worker."""
RATE = 150.0
"""Calls a second."""
WORK = ["/quick", "/quick_again", "/nap?ms=4", "/nap?ms=20", "/nap?ms=60", "/nap_again?ms=4", "/nap_again?ms=40"]
RELAYED = ["/relay?ms=2", "/relay?ms=20", "/relay?ms=40", "/relay_again?ms=10"]
BATCH = 8
MORE = {
    "one": [],
    "threads": ["/nap?ms=300", "/nap_again?ms=300"],
    "loop": ["/nap?ms=300", "/nap_again?ms=300"],
    "batches": ["/batch", "/batch_again"] * 10,
}
"""What has workers run several calls at once, if they can."""


@pytest.mark.soak
@pytest.mark.timeout(1800 if SOAK else 300)
@pytest.mark.parametrize(
    ("kind", "application", "slots"),
    [
        ("one", "hazards", 1),
        ("threads", "hazards", 4),
        ("loop", "dozing", 16),
        ("batches", "hazards", 1),
        ("pipelines", "relay", 1),
    ],
)
async def test_whatever_dies_nobody_is_told_anything_untrue(
    serve: Serve, kind: str, application: str, slots: int
) -> None:
    together = f"runtime.platform.process_groups.cpu.slots={slots}"
    scene = serve(PRELOADED, together, workers=4, application=application)
    work = RELAYED if kind == "pipelines" else WORK + MORE[kind]
    seed = random.randrange(2**32)
    crowd, nemesis = scene.crowd(seed), Nemesis(scene, seed)
    killing = asyncio.create_task(nemesis.kill(KILLS, pause=0.1))
    while not killing.done():
        await crowd.load(work, RATE, 1.0)
    await killing
    took = await scene.until_full()
    calm = await crowd.load(work, RATE, 0.5)
    await crowd.close()
    told = Counter(call.code for call in crowd.calls)
    print(dict(told), f"full again after {took:.2f} s")  # noqa: T201 - shown when it fails
    violations = scene.violations()
    assert [violation for violation in violations if violation.kind != NEVER_BEGUN] == []
    assert len(violations) <= 1 + 0.01 * KILLS
    assert {call.code for call in calm} == {"done"}
    assert told["done"] > 0.4 * told.total()
    assert 0 < told["worker_died"] <= KILLS * max(slots, BATCH)
