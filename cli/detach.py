"""`shunter start --detach`: the same start in a session of its own, watched until it serves or gives up."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import shunter
from cli.config_file import another
from cli.output import err, show_error
from cli.output import out as console
from cli.show import Terminal
from cli.stderr import say_error
from cli.tail import Tail
from ipc.control import ControlError, ask
from ipc.messages.control import AskStatus, Status
from supervisor.chronicle import from_json
from supervisor.errors import StartError
from supervisor.events import Serving
from supervisor.statedir import AlreadyRunning, make_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOG = "supervisor.log"
"""What happens, as the supervisor keeps it."""
OUT = "supervisor.out"
"""What it cannot keep there, for it came too early or too late: wrong usage, a fault of Python itself."""
FULL = 1024 * 1024
"""If there are more bytes of that, they are put aside before the next start."""
PAUSE = 0.05
FAILED, USAGE = 1, 2


def detached(config: Path, overrides: Sequence[str], state_dir: Path) -> int:
    """Start it, show how it gets ready, say how to see and stop it; the code of its start if that fails."""
    # This one is not the service: Ctrl-C is told to whom it starts, and SIGTERM ends it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if (pid := running(state_dir)) is not None:
        show_error(AlreadyRunning(state_dir, pid, another(config, state_dir)))
        return USAGE
    try:
        make_private(state_dir)
        out = _prepare(state_dir)
    except StartError as error:
        show_error(error)
        return USAGE
    except OSError as error:
        say_error(f"cannot write {error.filename}: {error.strerror}")
        return USAGE
    tails = (Tail(out.with_name(LOG)), Tail(out))
    try:
        for tail in tails:
            tail.last(0)
        with out.open("ab") as file:
            process = _spawn(config, overrides, state_dir, file.fileno())
        return _watch(process, tails, state_dir)
    finally:
        for tail in tails:
            tail.close()


def running(state_dir: Path) -> int | None:
    """The pid of the supervisor that has this state directory, if there is one."""
    with suppress(ControlError):
        answer = ask(state_dir, AskStatus())
        return answer.supervisor.pid if isinstance(answer, Status) else None
    return None


def _prepare(state_dir: Path) -> Path:
    """The file for its output, empty or with room, private to this user."""
    out = state_dir / "logs" / OUT
    out.parent.mkdir(mode=0o700, exist_ok=True)
    out.touch(mode=0o600)
    if out.stat().st_size > FULL:
        out.replace(out.with_name(f"{OUT}.1"))
        out.touch(mode=0o600)
    return out


def _spawn(config: Path, overrides: Sequence[str], state_dir: Path, log: int) -> subprocess.Popen[bytes]:
    # By its file: wherever this one was found, the new one finds itself there too.
    argv = [sys.executable, str(Path(shunter.__file__)), "start", "--background"]
    argv += ["--config", str(config), "--state-dir", str(state_dir)]
    for override in overrides:
        argv += ["--set", override]
    return subprocess.Popen(  # noqa: S603 -- ourselves
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _watch(process: subprocess.Popen[bytes], tails: Iterable[Tail], state_dir: Path) -> int:
    show = Terminal(attached=False)
    try:
        while True:
            code = process.poll()  # before the last look at the log, so that nothing it wrote is missed
            for raw in chain.from_iterable(tail.more() for tail in tails):
                if (event := from_json(raw)) is None:
                    err.print(raw, soft_wrap=True)
                    continue
                show(event, datetime.now(UTC))
                if isinstance(event, Serving):
                    console.print(_how_to_go_on(process.pid, state_dir), soft_wrap=True)
                    _let_go(process)
                    return 0
            if code == USAGE:  # it has said what is wrong, and there is nothing else to look at
                return code
            if code is not None:
                say_error(f"the service did not start; its log is {state_dir / 'logs' / LOG}")
                return code if code > 0 else FAILED
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        say_error("interrupted before it was ready; it is being stopped")
        process.wait()
        return FAILED


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """It outlives us: nobody is to be warned that nobody waits for it."""
    process.returncode = 0


def _how_to_go_on(pid: int, state_dir: Path) -> str:
    where = "" if state_dir == Path.cwd() / ".shunter" else f" --state-dir {shlex.quote(str(state_dir))}"
    lines = [f"  running in the background, pid {pid}"]
    for command, what in (("status", "what runs"), ("logs -f", "what it writes"), ("stop", "drain and stop it")):
        lines.append(f"    {f'shunter {command}{where}':<{24 + len(where)}} {what}")
    return "\n".join(lines)
