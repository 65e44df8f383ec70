"""Where a service is put, and what is there already: leftovers, other instances, addresses, containers."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from detached import Service, application, shunter, until

from ipc.control import LOCK, SOCKET
from supervisor import sockets
from supervisor.errors import StartError
from supervisor.scoreboard import own_bytes, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fault

SHOP = """
from exec_worker import node

@node(stage="core")
def double(n: int) -> int:
    return 2 * n
"""
CONFIG = """
runtime:
  platform:
    execution_ipc: {bind_host: "HOST"}
    process_groups: [{name: cpu, workers: 1, stages: [core]}]
  web:
    host: "HOST"
    port: 0
    interfaces: [{kind: http, endpoints: [{path: /double, methods: [GET], node: shop.double}]}]
"""
CONTAINER = Path(__file__).parent / "programs" / "container"
SLEEPER = "import signal; print(flush=True); signal.sigwait(set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})"
"""Ends at the first signal of any kind."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return application(tmp_path, SHOP, CONFIG.replace("HOST", "127.0.0.1"))


@contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with Shunter, and must not be told anything."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    try:
        process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.poll() is None
        process.kill()


@contextmanager
def running(config: Path, state: Path) -> Iterator[Service]:
    service = Service(config, state)
    try:
        yield service
    finally:
        service.end()
        with suppress(OSError, ValueError):  # one that did not take the order; nobody holds the lock otherwise
            os.kill(int((state / LOCK).read_text()), signal.SIGKILL)


def leftovers(state: Path, pid: int) -> None:
    """What a supervisor that was killed leaves behind, its number being somebody else's by now."""
    state.mkdir(mode=0o700)
    (state / LOCK).touch(mode=0o600)
    (state / LOCK).write_text(f"{pid}\n")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(state / SOCKET))


def test_leftovers_with_a_foreign_pid_neither_hinder_a_start_nor_cost_the_foreigner(
    config: Path, tmp_path: Path
) -> None:
    """F22."""
    state = tmp_path / "state"
    with stranger() as foreign:
        leftovers(state, foreign.pid)
        for command in (["stop"], ["stop", "--force"], ["restart"], ["status"], ["reload"]):
            asked = shunter(*command, "--state-dir", str(state))
            assert asked.returncode == 3, asked
            assert asked.stderr.count("\n") == 1
        with running(config, state) as service:
            assert service.http.get("/double", params={"n": 4}).json() == 8
            assert (state / LOCK).read_text() == f"{service.pid}\n"
            assert service.pid != foreign.pid


def test_a_second_instance_names_the_first_and_exits_with_2(config: Path, tmp_path: Path) -> None:
    """F23: it is wrong usage, for another state directory is all it takes."""
    with running(config, tmp_path / "state") as first:
        for how in ([], ["--detach"]):
            second = shunter("start", *how, "-c", str(config), *first.state)
            assert second.returncode == 2
            assert f"already running: process {first.pid} has {tmp_path / 'state'}" in second.stderr
        assert first.http.get("/double", params={"n": 1}).json() == 2


def test_a_lock_whose_holder_says_nothing_is_a_lock_all_the_same(config: Path, tmp_path: Path) -> None:
    """F23."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with (state / LOCK).open("w") as lock:
        (state / LOCK).chmod(0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = shunter("start", "-c", str(config), "--state-dir", str(state))
    assert second.returncode == 2
    assert "already running: process unknown has" in second.stderr
    assert not (state / SOCKET).exists()


def test_a_port_that_is_taken_ends_the_start_with_one_sentence_and_leaves_no_process(
    config: Path, tmp_path: Path
) -> None:
    """F24."""
    before = set(psutil.Process().children(recursive=True))
    with sockets.listen("127.0.0.1", 0) as taken:
        port = sockets.port_of(taken)
        where = ["--state-dir", str(tmp_path / "state"), "--set", f"runtime.web.port={port}"]
        refused = shunter("start", "-c", str(config), *where)
    assert refused.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: another program listens there" in refused.stderr
    assert set(psutil.Process().children(recursive=True)) == before
    assert not (tmp_path / "state" / SOCKET).exists()


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_a_service_lives_by_ipv6_alone_or_says_that_there_is_none(tmp_path: Path) -> None:
    """F49: HTTP and the links; the port is a free one, and told."""
    config = application(tmp_path, SHOP, CONFIG.replace("HOST", "::1"))
    started = shunter("start", "--detach", "-c", str(config), "--state-dir", str(tmp_path / "state"))
    if not has_ipv6():
        assert started.returncode == 2
        assert "cannot listen on [::1]:0: this machine has no such address" in started.stderr
        return
    try:
        assert started.returncode == 0, started
        port = int(started.stdout.partition("http://[::1]:")[2].split()[0].strip(";,"))
        with socket.create_connection(("::1", port), timeout=30) as client:
            client.sendall(b"GET /double?n=21 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.endswith(b"\r\n\r\n42")
    finally:
        shunter("stop", "--force", "--state-dir", str(tmp_path / "state"))


def found(*hosts: str) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]


def test_of_the_addresses_of_a_name_the_first_that_is_ours_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """F49: `localhost` may be ::1 where there is no IPv6, or a name stand for a loopback alias that is not there."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found("203.0.113.7", "127.0.0.1"))
    with sockets.listen("shop.example", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found("203.0.113.7", "203.0.113.8"))
    with pytest.raises(StartError, match=r"shop\.example:0: this machine has no such address"):
        sockets.listen("shop.example", 0)


def test_an_address_that_is_taken_is_not_made_up_for_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """F49: half a service on the wrong address would look like a whole one."""
    with sockets.listen("127.0.0.1", 0) as taken:
        both = [(*each[:4], (each[4][0], sockets.port_of(taken))) for each in found("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with pytest.raises(StartError, match="another program listens there"):
            sockets.listen("shop.example", 0)


def test_a_service_lives_in_a_container_where_only_its_state_directory_can_be_written(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F50: read-only file system, no HOME, no /dev/shm, nobody else in /proc."""
    for name in ("HOME", "USER", "LOGNAME", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(CONTAINER))
    monkeypatch.setenv("CONTAINER_WRITABLE", str(tmp_path / "state"))
    probe = [sys.executable, "-c", "import tempfile; tempfile.TemporaryFile()"]
    assert "FileNotFoundError" in subprocess.run(probe, capture_output=True, text=True, check=False).stderr
    with running(config, tmp_path / "state") as service:
        assert service.http.get("/double", params={"n": 4}).json() == 8
        (worker,) = service.workers("cpu")
        assert (worker["state"], worker["rss_bytes"]) == ("up", 0)  # it cannot be told, and says so as 0
        os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: [each["restarts"] for each in service.workers("cpu") if each["state"] == "up"] == [1])
        assert service.http.get("/double", params={"n": 5}).json() == 10
        assert shunter("logs", *service.state).returncode == 0
        assert shunter("stop", *service.state).returncode == 0


def test_a_state_directory_that_cannot_be_made_is_named_with_the_reason(config: Path) -> None:
    """F50."""
    nowhere = "/proc/shunter/state"
    for how in ([], ["--detach"]):
        refused = shunter("start", *how, "-c", str(config), "--state-dir", nowhere)
        assert refused.returncode == 2
        assert f"cannot use the state directory {nowhere}: " in refused.stderr
        assert "Traceback" not in refused.stderr


def test_memory_that_cannot_be_read_in_proc_counts_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """F50."""

    def hidden(_path: Path) -> bytes:
        raise PermissionError

    assert rss_bytes(os.getpid()) > 0
    monkeypatch.setattr(Path, "read_bytes", hidden)
    assert rss_bytes(os.getpid()) == own_bytes(os.getpid()) == 0
