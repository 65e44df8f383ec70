"""A web worker from bootstrap to exit: one thread, one loop."""

from __future__ import annotations

import asyncio
import socket
import traceback
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from ipc import collector
from ipc.beat import beat
from ipc.caller import Caller
from ipc.link import terms_of
from ipc.log import Log
from ipc.logbridge import install
from ipc.messages.lifeline import Broken, Drained, Ready
from ipc.messages.settings import WebSettings
from ipc.names import parse_worker
from ipc.printed import stamp
from ipc.scoreboard import Scoreboard
from ipc.stats import report_to
from ipc.transport import tcp, unix
from web_worker.app import base_app, build, find
from web_worker.endpoints.http import Shared
from web_worker.errands import Errands
from web_worker.events import Events
from web_worker.inside import context
from web_worker.server import Server

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ipc.hardening import Termination
    from ipc.messages.lifeline import Bootstrap, Drain
    from ipc.parent import Inherited, Parent


def run(parent: Parent, given: Inherited, termination: Termination) -> int:
    """Be the worker the supervisor says; returns the exit code."""
    bootstrap = parent.bootstrap()
    settings = bootstrap.settings
    assert isinstance(settings, WebSettings)  # noqa: S101 - the supervisor starts the right program
    assert given.listener is not None  # noqa: S101 - as above
    log = Log(bootstrap.name, bootstrap.log)
    install(log, bootstrap.log.level, context)
    stamp(context)
    try:
        app = base_app(settings)
    except BaseException as error:  # noqa: BLE001 - a user's module may raise anything, SystemExit too
        parent.say(Broken(f"{settings.app} cannot be imported: {error}", traceback.format_exc()))
        return 1
    listener = socket.socket(fileno=given.listener)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(parent, bootstrap, settings, app, log, listener, given.page, termination))


async def _serve(
    parent: Parent,
    bootstrap: Bootstrap,
    settings: WebSettings,
    app: FastAPI,
    log: Log,
    listener: socket.socket,
    page: int,
    termination: Termination,
) -> int:
    limits = bootstrap.limits
    loop = asyncio.get_running_loop()
    terms = terms_of(bootstrap, "memory" if settings.embedded else bootstrap.carrier)
    dial = unix.dial if bootstrap.carrier == "unix" else tcp.dial
    embedded = None
    idempotent = frozenset(node.name for node in settings.nodes if node.idempotent)
    try:
        if settings.embedded:
            embedded = find(settings.embedded_by)(bootstrap.name, settings.embedded, terms, limits, log, page)
        connect = dial if embedded is None else embedded.connect
        caller = Caller(parse_worker(bootstrap.name), terms, limits, settings.routes, connect, parent.say, idempotent)
        events = Events(log, verbose=bootstrap.log.level == "debug")
        shared = Shared(
            caller, events, min(settings.max_body, limits.max_payload), settings.timeout_header.lower().encode("ascii")
        )
        scoreboard = Scoreboard(page)
        report_to(log, scoreboard)
        front, health = build(app, settings, shared, scoreboard)
        errands = Errands(caller, settings.nodes, parent.say, shared.max_body, log)
    except Exception as error:  # noqa: BLE001 - nodes and dependencies named in the configuration may raise anything
        parent.say(Broken(f"the endpoints cannot be set up: {error}", traceback.format_exc()))
        return 1

    def started() -> None:
        collector.resume()
        beat(loop, scoreboard)
        parent.say(Ready())
        log.debug("ready", endpoints=len(settings.endpoints))

    server = Server(front, settings, started, on_trial=bootstrap.on_trial)

    def drain(said: Drain | None = None) -> None:
        # Whose place another has leaves no gap: neither clients nor those who ask whether it is ready need to notice.
        replaced = said is not None and said.replaced
        health.draining = not replaced
        server.drain(settings.keep_alive if replaced else None)

    listen = partial(parent.listen, loop, on_drain=drain, on_errand=errands.hear, on_admit=lambda _said: server.admit())
    if embedded is None:
        listen(on_peers=caller.update, on_fate=caller.fate)
    else:
        embedded.start()
        caller.update(embedded.peers())
        listen()
    termination.then(lambda: _soon(loop, drain))
    try:
        await server.serve([listener])
    except SystemExit:  # uvicorn's way to say that the app's lifespan failed
        parent.say(Broken("the app's lifespan did not start", front.lifespan_failure))
        return 1
    await errands.finish(settings.drain_timeout)
    if embedded is not None:
        await embedded.drain()
    await caller.close()
    parent.say(Drained())
    return 0


def _soon(loop: asyncio.AbstractEventLoop, call: object) -> None:
    loop.call_soon_threadsafe(call)  # type: ignore[arg-type]
