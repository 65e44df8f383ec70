"""A real service for attacks: real workers, a real supervisor, run by an ordinary user also where tests run as root.

Root may look into everything, so against root no guard means anything. Where the tests are root's, service and
attackers are users that own nothing but a directory; elsewhere they are whoever runs the tests.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from ipc.control import ask
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
IS_ROOT = os.geteuid() == 0
OWNER, STRANGER = 54_321, 54_322
"""Numbers without a name are users too."""
PATIENCE = 60.0

WEB = """
from fastapi import FastAPI
from shop.look import look

app = FastAPI()


@app.get("/web/look")
def in_web() -> dict:
    return look()
"""
LOOK = '''
import os
import socket
import struct
from pathlib import Path


def kind(fd: int) -> str:
    """What a descriptor is."""
    target = os.readlink(f"/proc/self/fd/{fd}")
    if target.startswith("pipe:"):
        standard = {os.readlink(f"/proc/self/fd/{n}"): name for n, name in ((1, "stdout"), (2, "stderr"))}
        return standard.get(target, "pipe")
    if not target.startswith("socket:"):
        return target
    with socket.socket(fileno=os.dup(fd)) as found:
        if found.family == socket.AF_UNIX:
            peer = struct.unpack("3i", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            return {os.getpid(): "own pair", os.getppid(): "lifeline"}.get(peer, f"unix to {peer}")
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return f"listener {found.getsockname()[1]}"
        return f"tcp {os.fstat(fd).st_ino}"


def look() -> dict:
    """What this process can say of itself."""
    fds = [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]
    status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    wanted = ("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "CapPrm", "CapEff", "CapInh", "CapAmb")
    return {
        "pid": os.getpid(),
        "fds": {fd: kind(fd) for fd in fds},
        "inherited": [fd for fd in fds if os.get_inheritable(fd)],
        "lifeline": next((os.fstat(fd).st_ino for fd in fds if kind(fd) == "lifeline"), 0),
        "home": [os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")],
        **{name: status[name].strip() for name in wanted if name in status},
    }
'''
NODES = '''
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from exec_worker import node
from shop.look import look


@node(stage="core")
def say_who() -> dict:
    return look()


@node(stage="core")
def fail() -> int:
    precious = {"rows": 3}
    raise RuntimeError("it broke on purpose")


@node(stage="core")
def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@node(stage="core")
def wait() -> int:
    time.sleep(30)
    return 0


@node(stage="core")
def order(apart: bool = False) -> str:
    """Tell the supervisor to stop: by itself, or by a daemon that has left its session and its parent."""
    code = (
        "import os, sys, time\\n"
        "sys.path[:] = eval(sys.argv[1])\\n"
        "if sys.argv[3] == 'apart':\\n"
        "    os.setsid()\\n"
        "    if os.fork():\\n"
        "        os._exit(0)\\n"
        "    while os.getppid() == int(sys.argv[4]):\\n"
        "        time.sleep(0.01)\\n"
        "from pathlib import Path\\n"
        "from ipc.control import ask\\n"
        "from ipc.messages.control import Stop\\n"
        "print(ask(Path(sys.argv[2]), Stop(force=True)), flush=True)\\n"
    )
    if not apart:
        from ipc.control import ask
        from ipc.messages.control import Stop

        return str(ask(Path(os.environ["STATE"]), Stop(force=True)))
    argv = [sys.executable, "-c", code, repr(sys.path), os.environ["STATE"], "apart", str(os.getpid())]
    return subprocess.run(argv, capture_output=True, text=True, start_new_session=False, timeout=30).stdout
'''
CONFIG = """
runtime:
  platform:
    secret_file: secret
    environment: {{set: {{STATE: {state}}}}}
    process_groups:
      - {{name: web, workers: 1}}
      - {{name: cpu, workers: 2, stages: [core]}}
  log: {{level: debug, requests: true}}
  web:
    port: 0
    app: shop.web:app
    interfaces:
      - kind: http
        binds: [request, response]
        endpoints:
          - {{path: /look, methods: [GET], node: shop.nodes.say_who}}
          - {{path: /fail, methods: [GET], node: shop.nodes.fail}}
          - {{path: /die, methods: [GET], node: shop.nodes.die}}
          - {{path: /wait, methods: [GET], node: shop.nodes.wait, timeout_seconds: 0.2}}
          - {{path: /order, methods: [GET], node: shop.nodes.order}}
discovery: {{packages: [shop.nodes]}}
"""


def ordinary(uid: int = OWNER) -> dict[str, Any]:
    """What makes a process of `subprocess` an ordinary user's: nothing, where it is one already."""
    return {"user": uid, "group": uid, "extra_groups": []} if IS_ROOT else {}


def can_reach(path: Path) -> bool:
    """Whether the ordinary user can get at a file: it may lie in somebody's home."""
    probe = ["/bin/sh", "-c", 'test -r "$1"', "sh", str(path)]
    return subprocess.run(probe, check=False, timeout=30, **ordinary()).returncode == 0


class Python(NamedTuple):
    """An interpreter that the ordinary user can run, the environment in which it finds everything, and our sources."""

    executable: str
    environment: dict[str, str]
    root: Path


@functools.cache
def python() -> Python:
    """This one; where only root can reach it, its files under other names."""
    if can_reach(Path(os.__file__)) and can_reach(ROOT / "shunter.py"):
        return Python(sys.executable, dict(os.environ), ROOT)
    public = Path(tempfile.mkdtemp(prefix="shunter-python-"))
    atexit.register(shutil.rmtree, public, ignore_errors=True)
    public.chmod(0o755)
    base, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(sys.executable).resolve()
    link(executable, public / "bin" / executable.name)
    for library in (base / "lib").glob("libpython*"):
        link(library, public / "lib" / library.name)
    link(base / "lib" / version, public / "lib" / version, "site-packages", "test", "idlelib", "config-*")
    paths = []
    for n, path in enumerate((ROOT, Path(pytest.__file__).parents[1])):
        if can_reach(path / ("shunter.py" if path == ROOT else "pytest")):
            paths.append(path)
        else:
            paths.append(public / str(n))
            link(path, paths[-1], ".*")
            for found in (paths[-1], *paths[-1].rglob("*")):
                if found.is_dir():  # it took over the mode of the one that could not be entered
                    found.chmod(0o755)
    environment = {**os.environ, "PYTHONHOME": str(public), "LD_LIBRARY_PATH": str(public / "lib")}
    environment["PYTHONPATH"] = ":".join(map(str, paths))
    return Python(str(public / "bin" / executable.name), environment, paths[0])


def link(source: Path, target: Path, *without: str) -> None:
    """The same files under another name; copies where that cannot be."""

    def put(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without), copy_function=put)
    else:
        put(str(source), str(target))


def project(directory: Path) -> Path:
    """Write the application; returns its configuration."""
    (directory / "shop").mkdir(mode=0o755)
    for name, text in (("__init__", ""), ("web", WEB), ("look", LOOK), ("nodes", NODES)):
        (directory / "shop" / f"{name}.py").write_text(text)
    config = directory / "shunter.yaml"
    config.write_text(CONFIG.format(state=directory / ".shunter"))
    (directory / "secret").write_bytes(os.urandom(32))
    (directory / "secret").chmod(0o600)
    return config


class Victim:
    """The service in a directory of its own; `watched_by` is the program that starts it, if not the test itself."""

    def __init__(
        self,
        *settings: str,
        by: tuple[str, ...] = (),
        user: bool = True,
        mode: int = 0o755,
        plant: tuple[str, Path] | None = None,
    ) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="shunter-victim-"))
        self.state = self.path / ".shunter"
        self.config = project(self.path)
        self.secret = (self.path / "secret").read_bytes()
        if plant is not None:
            self.plant(*plant)
        if IS_ROOT and user:
            for path in (self.path, *self.path.rglob("*")):
                os.chown(path, OWNER, OWNER, follow_symlinks=False)
        else:
            self.path.chmod(mode)
        self.output = self.path / "output"
        executable, environment, root = python()
        self.shunter = [executable, f"{root}/shunter.py"]
        argv = [*self.shunter, "start", "-c", str(self.config)]
        for setting in settings:
            argv += ["--set", setting]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*by, *argv],
                cwd=self.path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if by else output,
                stderr=output,
                text=True,
                env=environment,
                **(ordinary() if user else {"extra_groups": [OWNER + 10]} if IS_ROOT else {}),
            )

    def plant(self, what: str, target: Path) -> None:
        """Put something where the state directory or a part of it belongs."""
        if what == "state":
            self.state.symlink_to(target)
            return
        self.state.mkdir(mode=0o700)
        if what == "stale":
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(self.state / "control.sock"))
        else:
            (self.state / what).symlink_to(target)

    def ready(self) -> Victim:
        """Wait until it serves."""
        self.until(lambda: '"event":"serving"' in self.said(), "it does not serve")
        return self

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait; fail with all it said."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            over = self.process.poll() is not None or time.monotonic() > deadline
            assert not over or true(), f"{what}: {self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """All that came out of it."""
        return self.output.read_text(errors="replace")

    @property
    def url(self) -> str:
        line = next(line for line in self.said().splitlines() if '"event":"serving"' in line)
        return str(json.loads(line)["url"])

    def get(self, path: str) -> Any:
        """The JSON that is answered."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - http, and our own
            return json.loads(answer.read())

    def command(self, *arguments: str, user: bool = True) -> subprocess.CompletedProcess[str]:
        """What a command about this service says."""
        argv = [*self.shunter, *arguments, "-c", str(self.config)]
        who = ordinary() if user else {}
        return subprocess.run(
            argv,
            cwd=self.path,
            env=python().environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **who,
        )

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        answer = ask(self.state, AskStatus())  # also by root, to whom another user's service answers
        assert isinstance(answer, Status), answer
        return msgspec.to_builtins(answer)

    @property
    def epochs(self) -> range:
        """The numbers that its keys may have, those of two rotations too: with a secret the first is a time."""
        line = next(json.loads(line) for line in self.said().splitlines() if '"event":"serving"' in line)
        served = datetime.fromisoformat(line["time"]).timestamp()
        return range(int(served - line["seconds"]) - 1, int(served) + 3)

    def is_whole(self) -> bool:
        """Whether every worker is up."""
        return all(group["state"] == "up" for group in self.status()["groups"])

    def pids(self) -> dict[str, int]:
        """The supervisor and its workers, by name."""
        status = self.status()
        workers = {worker["name"]: worker["pid"] for group in status["groups"] for worker in group["workers"]}
        running = {name: pid for name, pid in workers.items() if pid is not None}
        return {"supervisor": status["supervisor"]["pid"], **running}

    def end(self) -> None:
        """Nothing is left of it."""
        self.process.stdin.close()
        try:
            if self.process.stdout is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()
        shutil.rmtree(self.path, ignore_errors=True)
