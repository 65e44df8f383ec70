"""One system that runs for one trial, those who ask it, and the log of what its workers did."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from systems import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
PEERS = HERE / ".venv" / "bin" / "python"
"""The peers' own interpreter: they are no dependencies of ours."""
PATIENCE = 2.0
"""How long somebody waits who is in a hurry, seconds."""
START = 30.0
PAIR, PAUSE = 0.02, 0.05
"""Two jobs of this length at once, answered by two processes: both workers serve. The pause before two more leaves one
worker alone time for others, seconds."""


class Told(NamedTuple):
    """What became of a request: its status, or `hang` (nobody answered in time), or `reset`."""

    ticket: str
    sent: float
    answered: float
    status: str
    pid: int = 0
    took: float = 0.0


class Note(NamedTuple):
    """One line of the log."""

    what: str
    ticket: str
    pid: int
    at: float


class Stand:
    """A system that runs here."""

    def __init__(self, port: int, log: Path, path: str) -> None:
        self._port, self._log = port, log
        self._tickets = itertools.count()
        self.path = path

    @property
    def url(self) -> str:
        """For programs that ask."""
        return f"http://127.0.0.1:{self._port}{self.path}"

    def ticket(self) -> str:
        """A name that no other request has."""
        return f"t{next(self._tickets)}"

    async def ask(self, kind: str, seconds: float = 0.0, patience: float = PATIENCE, ticket: str = "") -> Told:
        """Ask on a connection of its own, and hang up when patience is at its end."""
        ticket, sent, answer = ticket or self.ticket(), time.monotonic(), {}
        try:
            async with asyncio.timeout(patience):
                status, body = await self._exchange(body_of(kind, ticket, seconds))
            answer = json.loads(body) if status == "200" else {}
        except TimeoutError:
            status = "hang"
        except (OSError, asyncio.IncompleteReadError):
            status = "reset"
        return Told(ticket, sent, time.monotonic(), status, **answer)

    async def _exchange(self, body: bytes) -> tuple[str, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = f"POST {self.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            return head[9:12], await reader.readexactly(int(length))
        finally:
            writer.close()

    async def crowd(self, seconds: float, every: float, lasts: float, patience: float = PATIENCE) -> list[Told]:
        """Requests that are due at fixed times, answered or not."""
        asked, start = [], time.monotonic()
        for number in range(int(lasts / every)):
            await asyncio.sleep(start + number * every - time.monotonic())
            asked.append(asyncio.create_task(self.ask("nap", seconds, patience)))
        return await asyncio.gather(*asked)

    # -- what was done

    def notes(self) -> list[Note]:
        """The log so far."""
        lines = (line.split() for line in self._log.read_text().splitlines())
        return [Note(what, ticket, int(pid), float(at)) for what, ticket, pid, at in lines]

    async def begun(self, ticket: str) -> Note:
        """Wait until this job runs."""

        def found() -> list[Note]:
            return [note for note in self.notes() if note.ticket == ticket]

        assert await eventually(found, PATIENCE) < math.inf, "the job was not begun"
        return found()[0]

    async def over(self, begin: Note, patience: float) -> float:
        """When this job, which runs, ended, or its process did; infinite if it does not."""

        def ended() -> bool:
            last = any((note.what, note.ticket) == ("end", begin.ticket) for note in self.notes())
            return last or not runs(begin.pid)

        return await eventually(ended, patience)

    async def whole(self, patience: float) -> float:
        """When both workers serve; infinite if they do not."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            pair = await asyncio.gather(*(self.ask("nap", PAIR, patience=0.5) for _ in range(2)))
            if {told.status for told in pair} == {"200"} and len({told.pid for told in pair}) == 2:
                return max(told.answered - told.took for told in pair)
            await asyncio.sleep(PAUSE)
        return math.inf


def body_of(kind: str, ticket: str = "-", seconds: float = 0.0) -> bytes:
    """What is asked."""
    return json.dumps({"kind": kind, "ticket": ticket, "seconds": seconds}).encode()


def runs(pid: int) -> bool:
    """Whether this process is there, and no zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def eventually(true: Callable[[], object], patience: float) -> float:
    """When it is true; infinite if it is not in time."""
    until = time.monotonic() + patience
    while (now := time.monotonic()) < until:
        if true():
            return now
        await asyncio.sleep(0.01)
    return math.inf


# -- the systems, each as its documentation advises


def _pool(port: int, _deadline: float, _state: Path) -> list[str]:
    server = [str(PEERS), "-m", "uvicorn", "with_pool:app", "--app-dir", str(HERE), "--port", str(port)]
    return [*server, "--no-access-log", "--log-level", "critical", "--loop", "uvloop", "--http", "httptools"]


def _litserve(_port: int, _deadline: float, _state: Path) -> list[str]:
    return [str(PEERS), str(HERE / "with_litserve.py")]


def _gunicorn(port: int, deadline: float, _state: Path) -> list[str]:
    server = [str(PEERS), "-m", "gunicorn", "with_gunicorn:app", "--chdir", str(HERE), "-b", f"127.0.0.1:{port}"]
    dirty = ["--dirty-app", "with_gunicorn:Jobs", "--dirty-workers", "2", "--dirty-timeout", f"{math.ceil(deadline)}"]
    return [*server, "-k", "asgi", "-w", "1", *dirty, "--log-level", "critical"]


def _shunter(port: int, deadline: float, state: Path) -> list[str]:
    start = [str(Path(sys.executable).with_name("shunter")), "start", "-c", str(HERE / "with_shunter.yaml")]
    settings = {
        "runtime.web.port": port,
        "runtime.web.default_timeout_seconds": deadline,
        "runtime.platform.environment.set.EFFECT_LOG": state / "log",
    }
    return [*start, "--state-dir", str(state), *(word for item in settings.items() for word in ("--set", _set(*item)))]


def _set(key: str, value: object) -> str:
    return f"{key}={value}"


SYSTEMS: dict[str, Callable[[int, float, Path], list[str]]] = {
    "ProcessPoolExecutor": _pool,
    "LitServe": _litserve,
    "Gunicorn dirty workers": _gunicorn,
    "Shunter": _shunter,
}
"""Each system, and how it is started."""


@contextlib.contextmanager
def stand(system: str, deadline: float = 30.0, *, together: bool = False) -> Iterator[Stand]:
    """Start a system whose calls may take so long; returns when both its workers serve."""
    port, state = free_port(), Path(tempfile.mkdtemp())
    log = state / "log"
    log.touch()
    environment = {"PORT": str(port), "DEADLINE": str(deadline), "EFFECT_LOG": str(log)}
    environment |= {"TOGETHER": "1"} if together else {}
    argv = SYSTEMS[system](port, deadline, state)
    with (state / "told").open("wb") as told:
        process = subprocess.Popen(
            argv, env=os.environ | environment, stdout=told, stderr=told, cwd=state, start_new_session=True
        )
    made = Stand(port, log, "/together" if together and system == "Shunter" else "/job")
    try:
        up = asyncio.run(_answers(made)) if together else asyncio.run(made.whole(START)) < math.inf
        assert up, (state / "told").read_text()
        yield made
    finally:
        _end(process)
        shutil.rmtree(state, ignore_errors=True)


async def _answers(made: Stand) -> bool:
    until = time.monotonic() + START
    while time.monotonic() < until:
        if (await made.ask("model")).status == "200":
            return True
        await asyncio.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it politely, then all that is left of its session."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3)
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait(10)
