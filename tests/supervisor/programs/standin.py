"""A stand-in for both kinds of worker: does what a file named by STANDIN tells it, notes what it hears in another.

`$STANDIN/behaviour/<seat>`, `<group>` or `all`, the first there is, holds one of the words below; none: be good.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ipc.beat import beat
from ipc.control import ask
from ipc.ledger import Ledger
from ipc.messages.control import Stop
from ipc.messages.lifeline import (
    Abandoned,
    Bootstrap,
    Broken,
    Drain,
    Drained,
    Ended,
    Install,
    Installed,
    Moved,
    Peers,
    Quarantined,
    Ready,
    Retire,
    Suspected,
)
from ipc.messages.settings import ExecSettings
from ipc.names import parse_worker
from ipc.parent import Inherited, Parent, inherited
from ipc.scoreboard import Scoreboard

CALL, BEFORE = b"c" * 16, b"b" * 16
HERE = Path(os.environ["STANDIN"])
eaten: list[bytes] = []


def behaviour(name: str) -> str:
    worker = parse_worker(name)
    for file in (worker.seat, worker.group, "all"):
        if (path := HERE / "behaviour" / file).exists():
            return path.read_text().strip()
    return "good"


def note(name: str, **what: object) -> None:
    line = json.dumps({"name": name, "pid": os.getpid(), **what}) + "\n"
    fd = os.open(HERE / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


def main() -> None:
    given = inherited(sys.argv[1:])
    everybody = HERE / "behaviour" / "all"
    if everybody.exists() and everybody.read_text() == "ready at once":
        early = Parent.open(given.lifeline)
        early.say(Ready())
        time.sleep(60)
    parent, given, _termination = Parent.enter(sys.argv[1:])
    page, ledger = Scoreboard(given.page), Ledger(given.page)
    os.close(given.page)
    boot = parent.bootstrap()
    does = behaviour(boot.name)
    fds = {int(fd.name): str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
    note(
        boot.name,
        said="bootstrap",
        key=boot.server_key.hex(),
        epoch=boot.epoch,
        environment=dict(os.environ),
        argv=sys.argv,
        cwd=str(Path.cwd()),
        given=[given.lifeline, given.listener],
        open=[fd for fd, what in fds.items() if "memfd:shunter-" not in what and "/proc/" not in what],
        session=os.getsid(0),
    )
    sys.stdout.write(f"{boot.name} does: {does}\n")
    match does.split():
        case ["hang"]:
            time.sleep(600)
        case ["broken"]:
            parent.say(Broken("no module named 'shop'", "Traceback: no shop"))
            sys.exit(1)
        case ["exit", code]:
            sys.stderr.write("last words\n")
            os._exit(int(code))
        case ["segv"]:
            ctypes.string_at(0)
        case ["nonsense"]:
            parent._socket.sendall(b"\0\0\0\2no")
            time.sleep(60)
        case ["hang-up"]:
            parent.close()
            time.sleep(60)
        case ["slow", seconds]:
            time.sleep(float(seconds))
    asyncio.run(serve(parent, boot, given, page, ledger, does))
    os._exit(0)


def sleeper(**popen: bool) -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **popen).pid


async def serve(  # noqa: C901, PLR0912, PLR0915 -- a table of behaviours
    parent: Parent, boot: Bootstrap, given: Inherited, page: Scoreboard, ledger: Ledger, does: str
) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    name = boot.name

    def on_peers(peers: Peers) -> None:
        note(name, said="peers", workers={peer.name: [peer.address, peer.key.hex()] for peer in peers.workers})
        if does == "stays":
            return
        if does == "dies at new keys" and any(peer.epoch > boot.epoch for peer in peers.workers):
            os._exit(9)
        for peer in peers.workers:
            parent.say(Moved(peer.name, peer.epoch))

    def on_drain(drain: Drain) -> None:
        note(name, said="drain", grace=drain.grace)
        if does != "deaf":
            gone.set()

    def on_keys(keys: Install | Retire) -> None:
        if isinstance(keys, Retire):
            note(name, said="retire", epoch=keys.epoch)
            return
        note(name, said="install", epoch=keys.epoch, key=keys.key.hex())
        if does == "dies at new keys":
            os._exit(9)
        if does != "busy":
            parent.say(Installed(keys.epoch))

    def on_fate(message: Ended | Quarantined) -> None:
        if isinstance(message, Quarantined):
            note(name, said="quarantined", node=message.node, mark=message.mark.hex(), seconds=message.seconds)
            return
        begun, suspects = ([call.hex() for call in calls] for calls in (message.begun, message.suspects))
        note(name, said="ended", server=message.server, begun=begun, suspects=suspects)
        if does == "suspects":
            parent.say(Suspected("shop.pay", b"mark"))

    parent.listen(loop, on_peers=on_peers, on_drain=on_drain, on_keys=on_keys, on_fate=on_fate)
    server = None
    if given.listener is not None:
        listener = socket.socket(fileno=given.listener)

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            page.begin()
            writer.write(name.encode())
            writer.close()
            page.end()

        server = await asyncio.start_server(answer, sock=listener)
    address = "tcp://127.0.0.1:1" if isinstance(boot.settings, ExecSettings) else ""
    match does.split():
        case ["grandchildren"]:
            note(name, said="grandchildren", pids=[sleeper(), sleeper(start_new_session=True)])
        case ["crash", seconds]:
            loop.call_later(float(seconds), os._exit, 3)
        case ["recycle", seconds]:
            loop.call_later(float(seconds), gone.set)
        case ["overrun", seconds, grace]:  # what it runs does not end, and should in so many seconds
            ledger.begin(CALL, time.monotonic() + float(seconds), float(grace))
            faulthandler.register(signal.SIGQUIT)
        case ["late", seconds]:  # it ends what it runs while it is to print its stacks
            row = ledger.begin(CALL, time.monotonic() + float(seconds), 60.0)
            loop.add_signal_handler(signal.SIGQUIT, ledger.end, row)
        case ["busy", seconds, *more]:  # it dies of what it runs
            for other in more:
                ledger.begin(other.encode() * 16, time.monotonic() + 60, 60.0)
            ledger.end(ledger.begin(BEFORE, time.monotonic() + 60, 60.0))
            ledger.begin(CALL, time.monotonic() + 60, 60.0)
            loop.call_later(float(seconds), os._exit, 3)
        case ["waits"]:  # for somebody who kills it while it runs something
            ledger.begin(CALL, time.monotonic() + 60, 60.0)
        case ["lies"]:
            for _ in range(3):
                parent.say(Suspected("shop.pay", b"mark"))
        case ["abandons", server]:
            loop.call_later(0.1, parent.say, Abandoned(server, CALL))
        case ["ask"]:
            code = "import sys; sys.path[:] = eval(sys.argv[1]); from ipc.control import *; from pathlib import Path;"
            code += "from ipc.messages.control import *; print(ask(Path(sys.argv[2]), Stop()))"
            argv = [sys.executable, "-c", code, repr(sys.path), str(HERE / ".shunter")]
            own = await asyncio.to_thread(ask, HERE / ".shunter", Stop(force=True))
            daemon = await asyncio.to_thread(subprocess.check_output, argv, start_new_session=True, text=True)
            note(name, said="asked", own=str(own), daemon=daemon)
        case ["calls", count]:
            for _ in range(int(count)):
                page.begin()
                page.end()
        case ["eats", mebibytes, *calls]:
            eaten.append(b"x" * (int(mebibytes) * 2**20))
            if calls:
                page.begin()
                page.end()
        case ["chatter"]:
            sys.stdout.write("x" * 100_000 + "\n")
            sys.stderr.write("bell \a\n")
    beat(loop, page)
    parent.say(Ready(address))
    note(name, said="ready")
    await gone.wait()
    if server is not None:
        # First let nobody in, then close: asyncio drops whom it has let in but not met yet when the server is closed.
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
        for _ in range(20):  # whoever was let in already is still answered, however slow this machine is
            await asyncio.sleep(0.01)
        server.close()
    parent.say(Drained())


main()
