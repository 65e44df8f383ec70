"""uvicorn on the socket the supervisor bound: says when it serves, stops when it is told to, leaves signals alone."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import uvicorn

from web_worker.protocol import Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ipc.messages.settings import WebSettings


_LOOK = 0.05
"""How often a server that drains looks which clients are quiet, seconds."""


class Server(uvicorn.Server):
    """One web worker's server."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - ASGI
        settings: WebSettings,
        on_started: Callable[[], None],
        *,
        on_trial: bool = False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=Protocol,
                lifespan="on",  # "auto" takes an app that raises for one that has none
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # Whole seconds by their types; both are only ever added to a time.
                timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]
                timeout_graceful_shutdown=settings.drain_timeout,  # type: ignore[arg-type]
            )
        )
        self._on_started = on_started
        self._on_trial = on_trial
        self._admitted = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Signals are this process's affair, not the server's."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Have the app start, then accept, and say so; on trial say so, and accept once that is over."""
        await super().startup([])
        if self._on_trial and not self.should_exit:
            self._on_started()
            await self._admitted.wait()
        if self.should_exit:
            return
        for each in sockets or ():
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_server(self._connection, sock=each, backlog=self.config.backlog))
        if not self._on_trial:
            self._on_started()

    def _connection(self) -> Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state)

    def admit(self) -> None:
        """The trial is over."""
        self._admitted.set()

    def drain(self, quiet: float | None = None) -> None:
        """Accept nothing more, finish what there is, then return from `serve`.

        `quiet` is how long a client must have been silent for that it is hung up on, seconds; `QUIET` unless given.
        """
        if quiet is not None:
            vars(self.server_state)["quiet"] = quiet  # where every connection finds it
        self.should_exit = True
        self._admitted.set()

    async def _wait_tasks_to_complete(self) -> None:
        """Hang up on each client as soon as nothing of it can be lost: uvicorn would at once, or not at all."""
        told = {connection for connection in self.server_state.connections if not isinstance(connection, Protocol)}
        while self.server_state.connections:
            for connection in list(self.server_state.connections):
                if connection not in told:
                    connection.shutdown()
                if not isinstance(connection, Protocol):  # a WebSocket, which is told once
                    told.add(connection)
            await asyncio.sleep(_LOOK)
        await super()._wait_tasks_to_complete()
