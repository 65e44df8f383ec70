"""A service whose workers die all the time, and somebody who gives each number to a stranger as soon as it is free.

    again.py DIRECTORY LIVES

Best as the first process of a PID namespace, where it may say which number is next: there the supervisor is killed at
the end. Elsewhere it is played: what is done to a number that was free meanwhile is done to a stranger.
Says, as JSON, how many strangers there were, how many got the number they were to have, and who was harmed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio
from stage import PROGRAMS, Stage, groups

from ipc.messages.lifeline import Hardened, Ready, encode
from supervisor import aftermath
from supervisor.events import Serving, WorkerSpawned
from supervisor.policy import RestartPolicy
from supervisor.run import run

if TYPE_CHECKING:
    from supervisor.events import Event

REAL = os.getpid() == 1
NEXT = Path("/proc/sys/kernel/ns_last_pid")
TRIES, PAUSE = 200, 0.001
QUIET = 10
"""How many of the lives are the last, of a program that starts no others: at the end nobody else is to take numbers."""
PID = 0x7FFFFFFF
MAYFLY = """#!{python} -SE
import os, sys, time
said = bytes.fromhex("{said}").replace({pid}.to_bytes(4, "big"), os.getpid().to_bytes(4, "big"))
if os.fork() == 0: time.sleep(600)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(0.02)
    os._exit(0)
os.write(int(sys.argv[sys.argv.index("--lifeline-fd") + 1]), said)
"""
"""One child stays in its process group. Another flees, and its end is for the supervisor to note."""
AT_ONCE = RestartPolicy(limit=10**9, base=0.0, cap=0.0)


class Strangers:
    """Those who got a number that had been another's. Whoever makes them is not of the service."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self.given = 0

    def give(self, number: int) -> int:
        """Give it to a new one, who leads a session; its pid."""
        for _ in range(TRIES):
            if REAL:
                NEXT.write_text(str(number - 1))
            if (pid := os.fork()) == 0:
                be_a_stranger()
            if pid == number or not REAL:
                break
            os.kill(pid, signal.SIGKILL)  # somebody is still in a group of that number
            os.waitpid(pid, 0)
            time.sleep(PAUSE)
        else:
            return 0
        self.given += pid == number
        self._pids.append(pid)
        return pid

    def verdict(self) -> dict[str, Any]:
        """What became of them; ends them."""
        harmed = []
        for pid in self._pids:
            ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if ended:
                harmed.append(f"{pid}: {status:#x}")
                continue
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return {"real": REAL, "strangers": len(self._pids), "given": self.given, "harmed": harmed}


def be_a_stranger() -> None:
    os.setsid()
    os.closerange(3, 65536)
    while True:
        signal.pause()


def main() -> None:
    strangers = Strangers()
    ours, theirs = socket.socketpair()
    if (supervisor := os.fork()) == 0:
        ours.close()
        anyio.run(Service(theirs.makefile("rwb", buffering=0)).serve)
        os._exit(0)
    theirs.close()
    with ours.makefile("rwb", buffering=0) as asked:
        while words := asked.readline().split():
            if words[0] == b"kill":
                bury(supervisor, *map(int, words[1:]), strangers=strangers)
                break
            asked.write(b"%d\n" % strangers.give(int(words[0])))
        else:
            assert os.waitpid(supervisor, 0)[1] == 0
    sys.stdout.write(json.dumps(strangers.verdict()))


def bury(supervisor: int, warden: int, *workers: int, strangers: Strangers) -> None:
    """Kill the supervisor, and give the numbers of its workers away before the warden looks for them."""
    os.kill(warden, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    for pid in (supervisor, *workers):
        os.waitpid(pid, 0)
    for pid in workers:
        assert strangers.give(pid) == pid
    os.kill(warden, signal.SIGCONT)
    os.waitpid(warden, 0)


class Service:
    """The supervisor: each number that it has seen the end of is given away before it goes on."""

    def __init__(self, maker: IO[bytes]) -> None:
        self._maker = maker
        self._played: dict[int, int] = {}
        """Who stands for whoever has a number now."""
        self._lives = int(sys.argv[2])
        self._spawned: dict[str, int] = {}
        self._serving = anyio.Event()

    async def serve(self) -> None:
        stage = Stage(Path(sys.argv[1]))
        mayfly = stage.path / "mayfly"
        said = encode(Hardened(PID)) + encode(Ready("tcp://127.0.0.1:1"))
        mayfly.write_text(MAYFLY.format(python=sys.executable, said=said.hex(), pid=PID))
        mayfly.chmod(0o700)
        self._watch_numbers()
        async with anyio.create_task_group() as tasks:

            async def go() -> None:
                await run(stage.plan(groups(cpu=2, web=1)), on_event=self._hear, programs=PROGRAMS, policy=AT_ONCE)

            tasks.start_soon(go)
            await self._serving.wait()
            sys.executable = str(mayfly)
            os.kill(self._spawned["cpu-0"], signal.SIGKILL)

    def _hear(self, event: Event) -> None:
        match event:
            case Serving():
                self._serving.set()
            case WorkerSpawned():
                self._spawned[event.worker.partition("#")[0]] = event.pid
                self._lives -= 1
                if self._lives == QUIET:
                    sys.executable = "/bin/true"
                if self._lives == 0 and REAL:
                    workers = (self._spawned["cpu-1"], self._spawned["web-0"])
                    self._maker.write(b"kill %d %d %d\n" % (warden(), *workers))
                    signal.pause()
                elif self._lives == 0:
                    signal.raise_signal(signal.SIGTERM)

    def _watch_numbers(self) -> None:
        """Know of each number that becomes free."""
        waitid, waitpid = os.waitid, os.waitpid

        def watched_waitid(kind: int, which: int, how: int) -> os.waitid_result | None:
            found = waitid(kind, which, how)
            if found is not None and not how & os.WNOWAIT:
                self._is_free(found.si_pid)
            return found

        def watched_waitpid(which: int, how: int) -> tuple[int, int]:
            found = waitpid(which, how)
            if found[0]:
                self._is_free(found[0])
            return found

        os.waitid, os.waitpid = watched_waitid, watched_waitpid  # type: ignore[assignment]
        if not REAL:
            for name in ("kill", "killpg", "pidfd_open"):
                setattr(os, name, self._played_for(getattr(os, name)))

    def _is_free(self, number: int) -> None:
        self._maker.write(b"%d\n" % number)
        self._played[number] = int(self._maker.readline())

    def _played_for(self, call: Any) -> Any:
        return lambda number, *more: call(self._played.get(number, number), *more)


def warden() -> int:
    """The process that the supervisor has at hand for its own end."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if aftermath.__file__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():  # of a zombie there is none
                return int(pid)
    raise AssertionError


if __name__ == "__main__":
    main()
