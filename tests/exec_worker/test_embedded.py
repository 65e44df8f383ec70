from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from test_service import until

from exec_worker.embedded import Embedded
from ipc.log import Log
from ipc.messages.settings import EmbeddedGroup, ExecSettings, Limits, LogSettings
from ipc.scoreboard import create
from ipc.wire.session import Terms
from ipc.wire.signing import Alg


async def test_threads_that_drain_end_their_links_to_each_other() -> None:
    first, second = ExecSettings((), forwards={"shop.b": "gpu"}), ExecSettings((), rows=(("shop.b",),))
    groups = EmbeddedGroup("cpu", 1, first), EmbeddedGroup("gpu", 1, second)
    page = create("threads")
    terms = Terms("memory", Alg.HMAC_SHA256, 0, 1 << 16, 30_000)
    embedded = Embedded("web-0#1", groups, terms, Limits(), Log("web-0#1", LogSettings(level="error")), page)
    os.close(page)
    embedded.start()
    responder = next(w.responder for w in embedded._workers.values() if w.name.group == "gpu")
    await until(lambda: responder.links)
    async with asyncio.timeout(10):
        await embedded.drain()
    await until(lambda: not responder.links)
    embedded._loop.call_soon_threadsafe(embedded._loop.stop)
    embedded._io.join(5)
