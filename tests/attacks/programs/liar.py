"""An exec worker that has turned: it keeps to its lifeline, and says nonsense to every web worker that dials it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from ipc.messages.lifeline import Drained, Ready
from ipc.parent import Parent

if TYPE_CHECKING:
    from ipc.messages.lifeline import Drain


async def lie(parent: Parent) -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write((72).to_bytes(4, "big") + bytes(72))
        await reader.read()
        writer.close()

    def drain(_order: Drain) -> None:
        gone.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    parent.listen(asyncio.get_running_loop(), on_drain=drain)
    parent.say(Ready(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    await gone.wait()
    parent.say(Drained())


if __name__ == "__main__":
    parent, _given, _termination = Parent.enter(sys.argv[1:])
    parent.bootstrap()
    asyncio.run(lie(parent))
    os._exit(0)
