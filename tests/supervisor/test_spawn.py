"""One process: what it inherits, and what it does not."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from stage import PROGRAMS, Stage, groups

from ipc.errors import Misuse
from ipc.names import WorkerName
from supervisor import events, sockets
from supervisor.environment import ALLOCATOR, scrub
from supervisor.errors import SpawnError, StartError
from supervisor.scoreboard import rss_bytes
from supervisor.spawn import Launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.process import Process

NAME = WorkerName("cpu", 0, 1)


def test_the_environment_is_an_allow_list() -> None:
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "OTEL_SERVICE_NAME": "s",
        "PYTHONPATH": "/p",
        "SSL_CERT_FILE": "/c",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "PYTHONSTARTUP": "/evil",
        "DATABASE_URL": "x",
        "SHOP_A": "1",
    }
    kept = set(scrub(ours, (), ())) - ALLOCATOR.keys()
    assert kept == {
        "PATH",
        "LC_ALL",
        "OTEL_SERVICE_NAME",
        "PYTHONPATH",
        "SSL_CERT_FILE",
    }
    found = scrub(ours, ["SHOP_*", "DATABASE_URL"], [("PATH", "/usr/bin"), ("NEW", "n")])
    assert found["PATH"] == "/usr/bin"
    assert {"SHOP_A", "DATABASE_URL", "NEW"} <= set(found)
    assert "AWS_SECRET_ACCESS_KEY" not in found


def test_memory_in_use_is_known_for_the_living() -> None:
    assert rss_bytes(os.getpid()) > 1_000_000
    assert rss_bytes(2**22 + 1) == 0


@pytest.fixture
def process(stage: Stage) -> Iterator[Process]:
    variables = scrub(os.environ, (), stage.plan().environment_set)
    process = Launcher(variables, programs=PROGRAMS).launch(NAME, "exec")
    yield process
    process.kill()
    assert select.select([process.pidfd], [], [], 30)[0]
    assert process.end() == "killed by SIGKILL"
    process.lifeline.close()
    os.close(process.stdout)
    os.close(process.stderr)


@pytest.mark.fault
def test_a_process_leads_a_session_of_its_own(process: Process) -> None:
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert process.page.read() == (0, 0, 0)


@pytest.mark.fault
def test_a_process_that_was_made_ahead_is_the_one_its_worker_has(stage: Stage) -> None:
    launcher = Launcher(scrub(os.environ, (), stage.plan().environment_set), programs=PROGRAMS)
    other = WorkerName("cpu", 1, 1)
    for name in (NAME, other):
        launcher.prepare(name, "exec")
    ahead = launcher.prepared
    taken = launcher.launch(NAME, "exec")
    assert [taken.pid, *launcher.prepared] == ahead
    launcher.discard()
    assert not launcher.prepared
    assert not Path(f"/proc/{ahead[1]}").exists()
    taken.kill()
    assert taken.end() == "killed by SIGKILL"
    taken.lifeline.close()
    for stream in (taken.stdout, taken.stderr):
        os.close(stream)


@pytest.mark.fault
def test_what_cannot_be_made_ahead_is_told_when_its_time_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher({}, programs=PROGRAMS)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    launcher.prepare(NAME, "exec")
    with pytest.raises(SpawnError, match="No such file"):
        launcher.launch(NAME, "exec")


@pytest.mark.fault
def test_no_process_is_made_outside_the_main_thread(stage: Stage) -> None:
    launcher = Launcher({}, programs=PROGRAMS)
    raised: list[BaseException] = []

    def launch() -> None:
        try:
            launcher.launch(NAME, "exec")
        except Misuse as error:
            raised.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    thread.join()
    assert raised


@pytest.mark.fault
def test_what_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher({}, programs=PROGRAMS)
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(SpawnError, match=r"cpu-0#1 could not be started: .*No such file"):
        launcher.launch(NAME, "exec")
    monkeypatch.undo()
    monkeypatch.setattr(os, "pidfd_open", lambda _pid: (_ for _ in ()).throw(OSError("none left")))
    with pytest.raises(SpawnError, match="none left"):
        launcher.launch(NAME, "exec")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.fault
def test_a_child_finds_what_it_was_given_and_nothing_else(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("SHOP_NAME", "s")
    secret = bytes(range(32))

    async def story() -> None:
        async with stage.running(stage.plan(environment_pass=("SHOP_*",), secret=secret)) as live:
            await live.sees(events.Serving)

    anyio.run(story)
    for note in stage.notes(said="bootstrap"):
        given = [fd for fd in note["given"] if fd is not None]
        assert sorted(note["open"]) == [0, 1, 2, *sorted(given)]
        assert (len(given) == 2) == note["name"].startswith("web")
        assert "AWS_SECRET_ACCESS_KEY" not in note["environment"]
        assert note["environment"]["SHOP_NAME"] == "s"
        assert note["cwd"] == str(Path.cwd())
        assert note["session"] == note["pid"]
        seen = " ".join([*note["argv"], *note["environment"].values()])
        assert secret.hex() not in seen
        assert not note["key"] or note["key"] not in seen


@pytest.mark.fault
def test_a_port_that_is_taken_is_named_and_nothing_is_started(stage: Stage) -> None:
    with sockets.listen("127.0.0.1", 0) as taken:
        port = sockets.port_of(taken)

        async def story() -> None:
            async with stage.running(stage.plan(port=port)) as live:
                await live.over.wait()
            assert f"127.0.0.1:{port}" in str(live.failure)
            assert not live.events

        anyio.run(story)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(StartError, match=host):
        sockets.listen(host, 0)


def test_a_port_is_free_again_at_once() -> None:
    with sockets.listen("127.0.0.1", 0) as first:
        port = sockets.port_of(first)
    with sockets.listen("127.0.0.1", port) as second:
        assert sockets.port_of(second) == port
        assert not second.get_inheritable()


@pytest.mark.fault
def test_without_web_workers_no_port_is_taken(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            assert (await live.sees(events.Serving)).port == 0
            os.kill(os.getpid(), signal.SIGTERM)
            await live.over.wait()

    anyio.run(story)
