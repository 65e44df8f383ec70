"""The two threads of an exec worker, from bootstrap to exit."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING

import anyio
import uvloop

from exec_worker import hooks
from exec_worker.engine import Engine
from exec_worker.loader import LoadError, load
from exec_worker.node import current
from exec_worker.rows import Rows
from exec_worker.service import Service
from exec_worker.tasks import lanes_of
from ipc import collector, limits
from ipc.beat import beat
from ipc.errors import Misuse
from ipc.ledger import Ledger
from ipc.link import terms_of
from ipc.log import Log
from ipc.logbridge import install, nothing
from ipc.messages.lifeline import Broken, Drained, Install, Installed, Ready, Retire
from ipc.messages.settings import ExecSettings
from ipc.names import parse_worker
from ipc.printed import stamp
from ipc.responder import Responder
from ipc.scoreboard import Scoreboard
from ipc.stats import report_to
from ipc.transport import tcp, unix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exec_worker.binding import Binding
    from ipc.hardening import Termination
    from ipc.messages.lifeline import Bootstrap
    from ipc.parent import Parent

FAREWELL = 2.0
"""How long web workers may take to hang up on a worker that has no more to do and has said so, seconds."""
SWITCH_INTERVAL = 0.0005
"""How long a node may keep the interpreter from the I/O thread, seconds: it answers in 0.6 ms instead of 5."""


def context() -> Mapping[str, object]:
    """Whose call is at hand, for log lines of nodes."""
    try:
        call = current()
    except Misuse:
        return nothing()
    if len(call.items) > 1:
        return {"request_ids": [item.request_id for item in call.items]}
    return {"request_id": call.request_id, "trace": call.trace}


def run(parent: Parent, page: int, termination: Termination, nodes: dict[str, Binding] | None = None) -> int:
    """Be the worker the supervisor says; returns the exit code. `nodes` if it was forked where they were loaded."""
    bootstrap = parent.bootstrap()
    settings = bootstrap.settings
    assert isinstance(settings, ExecSettings)  # noqa: S101 - the supervisor starts the right program
    log = _begin_log(bootstrap)
    try:
        limits.apply(settings, parse_worker(bootstrap.name).slot)
        if nodes is None:
            nodes = load(settings.nodes, settings.sys_path)
        engine = Engine(nodes, log, settings.cancel_grace, alone=settings.slots == 1)
        lanes = lanes_of(settings, engine, Ledger(page))
        hooks.begin(lanes.await_)
    except limits.Refused as error:
        parent.say(Broken(str(error)))
        return 1
    except LoadError as error:
        parent.say(Broken(str(error), error.traceback or traceback.format_exc()))
        return 1
    for limit in limits.without_effect(settings.limits):
        log.warning("limit_without_effect", limit=limit)
    sys.setswitchinterval(SWITCH_INTERVAL)
    collector.resume()  # in a forked worker that is next to nothing: its template's objects are frozen already
    scoreboard = Scoreboard(page)
    report_to(log, scoreboard)
    rows = Rows(engine, settings.rows)
    service = Service(engine, scoreboard, lanes, rows)
    departure = hooks.Departure()

    def drain(grace: float = settings.drain_timeout) -> None:
        departure.begin(grace)
        service.drain()

    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=_turn, args=(loop, scoreboard), name="io", daemon=True)
    thread.start()
    responder = asyncio.run_coroutine_threadsafe(_open(parent, bootstrap, settings, service, drain), loop).result()
    del bootstrap  # it has the secret in it, and a child that a node forks can look through this frame
    if responder is None:
        return 1

    def leave() -> None:
        loop.call_soon_threadsafe(drain)

    termination.then(leave)
    log.debug("ready", nodes=len(nodes))
    lanes.run(service.finish)
    asyncio.run_coroutine_threadsafe(rows.close(departure.spare()), loop).result()
    asyncio.run_coroutine_threadsafe(_leave(responder), loop).result()
    if hooks.registered("on_worker_stop"):
        loop.call_soon_threadsafe(loop.call_later, departure.left(), _give_up, departure, parent, log)
        departure.run(log, lanes.await_)
    lanes.dispose()
    parent.say(Drained())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    return 0


def _turn(loop: asyncio.AbstractEventLoop, scoreboard: Scoreboard) -> None:
    beat(loop, scoreboard)
    loop.run_forever()


def _begin_log(bootstrap: Bootstrap) -> Log:
    log = Log(bootstrap.name, bootstrap.log)
    install(log, bootstrap.log.level, context)
    stamp(context)
    return log


def _give_up(departure: hooks.Departure, parent: Parent, log: Log) -> None:
    """A stop hook keeps the main thread: leave without it."""
    departure.give_up(log)
    parent.say(Drained())
    os._exit(0)


async def _open(
    parent: Parent,
    bootstrap: Bootstrap,
    settings: ExecSettings,
    service: Service,
    drain: Callable[[float], None],
) -> Responder | None:
    """Listen, and say so."""
    terms, name = terms_of(bootstrap, bootstrap.carrier), parse_worker(bootstrap.name)
    responder = Responder(name, bootstrap.server_key, terms, service)
    where = f"{settings.bind_host}:{settings.bind_port}"
    try:
        if bootstrap.carrier == "unix":
            where = f"{settings.socket_dir}/{name.socket}"
            address = await responder.listen_at(where)
        else:
            address = await responder.listen(settings.bind_host, settings.bind_port)
    except OSError as error:
        parent.say(Broken(f"{bootstrap.name} cannot listen on {where}: {error.strerror}"))
        return None

    def rotate(keys: Install | Retire) -> None:
        if isinstance(keys, Retire):
            responder.retire(keys.epoch)
        else:
            responder.install(keys.epoch, keys.key)
            parent.say(Installed(keys.epoch))

    onward = None
    if settings.forwards:
        from exec_worker.onward import Onward  # noqa: PLC0415 - a tenth of the imports, and few workers send calls on

        dial = unix.dial if bootstrap.carrier == "unix" else tcp.dial
        onward = Onward(name, terms, bootstrap.limits, settings, dial, parent.say)
    service.rows.open(responder, onward)
    parent.listen(
        asyncio.get_running_loop(),
        on_peers=None if onward is None else onward.update,
        on_drain=lambda told: drain(told.grace),
        on_keys=rotate,
        on_fate=None if onward is None else onward.fate,
    )
    parent.say(Ready(address, settings.slots))
    return responder


async def _leave(responder: Responder) -> None:
    """Let what was answered reach its reader, and give back what was sent before its sender knew better."""
    responder.dismiss()
    with anyio.move_on_after(FAREWELL):
        await _deserted(responder)
    responder.close()
    await _deserted(responder)  # each link ends in CLOSE_TIME at most


async def _deserted(responder: Responder) -> None:
    """Wait until no web worker is connected."""
    while responder.links:  # noqa: ASYNC110 - twice in a life
        await asyncio.sleep(0.005)
