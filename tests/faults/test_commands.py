"""Groups that run any program: how it is known to be ready, what it finds, and how it ends with all that came of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import psutil
import pytest
import stage as staged
from msgspec import structs
from stage import Stage, groups, tool
from watched import Watched, runs

from ipc.control import ask
from ipc.messages.control import Done, Refused, Restart, Scale, Stop
from ipc.messages.settings import CommandSettings
from supervisor import events
from supervisor.errors import SpawnError
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stage import Live

pytestmark = pytest.mark.fault
SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
"""How many times longer than in `make test`."""
LIBCS = 1 << 31 | 1 << 32  # signals 32 and 33, which nobody but the C library can set
PYTHONS = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
"""What Python ignores in every process."""
HASTY = RestartPolicy(base=0.01, cap=0.02, limit=2)


def free_port(several: int = 1) -> int:
    """Below those that the kernel gives to whoever connects: nobody else takes it by chance."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as one, socket.socket() as last:
            try:
                one.bind(("127.0.0.1", port))
                last.bind(("127.0.0.1", port + several)) if several > 1 else None
            except OSError:
                continue
            return port


async def said(live: Live, worker: str) -> dict[str, Any]:
    """What the tool of this life said of itself, on another pipe than that by which it may be ready."""

    def lines() -> list[str]:
        told = (line.text for line in live.seen(events.LineWritten, worker=worker, stream="stdout"))
        return [text for text in told if text.startswith("{")]

    await live.until(lines)
    found: dict[str, Any] = json.loads(lines()[0])
    return found


def order(live: Live) -> list[tuple[str, str]]:
    return [
        (type(event).__name__, getattr(event, "group", "") or getattr(event, "worker", "")) for event in live.events
    ]


async def stopped(stage: Stage, live: Live) -> None:
    """End it in good order."""
    assert isinstance(await anyio.to_thread.run_sync(ask, stage.state_dir, Stop()), Done)
    await live.over.wait()


async def restarted(stage: Stage, group: str) -> Done | Refused:
    answer = await anyio.to_thread.run_sync(ask, stage.state_dir, Restart(group))
    assert isinstance(answer, Done | Refused)
    return answer


@contextmanager
def nothing_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def test_each_is_ready_by_its_own_sign_before_the_next_group_starts_and_outlives_it(stage: Stage) -> None:
    one, two = free_port(2), free_port()
    those = (
        tool("port", "tcp", one, tcp=one, workers=2),
        tool("web_page", "http", two, 503, 404, 302, http=f"http://localhost:{two}/health?deep=1"),
        tool("line", "say", "warming up", "now (ready) [to] accept.*", log="(ready) [to] accept.*"),
        tool("moment", "say"),
        *groups(cpu=1, web=0),
    )

    async def story() -> None:
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            told = order(live)
            for before, after in pairwise(those):
                assert told.index(("GroupUp", before.name)) < told.index(("GroupStarting", after.name))
            ready = told.index(("WorkerReady", "line-0#1"))
            texts = [getattr(event, "text", "") for event in live.events[:ready]]
            assert "now (ready) [to] accept.*" in texts
            assert live.seen(events.WorkerReady, worker="moment-0#1")[0].seconds >= 0.5
            assert [(await said(live, f"port-{n}#1"))["environ"]["SHUNTER_SLOT"] for n in (0, 1)] == ["0", "1"]
            await restarted(stage, "cpu")
            await stopped(stage, live)
        ends = [event.worker.partition("-")[0] for event in live.seen(events.WorkerExited)]
        assert ends == ["cpu", "cpu", "moment", "line", "web_page", "port", "port"]

    with nothing_left():
        anyio.run(story)


def test_a_program_finds_what_its_group_says_and_nothing_else(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("REDIS_URL", "passed on")
    those = (
        tool("one", "say", "here", log="here", directory=stage.path, passed=("REDIS_*",), added=(("MINE", "yes"),)),
    )

    async def story() -> None:
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            found = await said(live, "one-0#1")
            assert found["environ"].items() >= {"MINE": "yes", "REDIS_URL": "passed on", "SHUNTER_SLOT": "0"}.items()
            assert "STANDIN" not in found["environ"]  # what is set for the application is the application's
            assert "DATABASE_PASSWORD" not in found["environ"]
            assert found["cwd"] == str(stage.path)
            assert found["fds"] == [0, 1, 2]
            assert [int(mask, 16) & ~PYTHONS & ~LIBCS for mask in found["masks"]] == [0, 0]
            guard = live.seen(events.WorkerSpawned)[0].pid
            assert not {"MINE", "REDIS_URL", "STANDIN"} & psutil.Process(guard).environ().keys()

    anyio.run(story)


def test_a_crash_takes_its_children_along_and_the_next_life_begins(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan((tool("one", "family"),)), policy=HASTY) as live:
            await live.sees(events.Serving)
            await live.until(lambda: len(children(live, "one-0#1")) == 2)
            those = children(live, "one-0#1")
            os.kill((await said(live, "one-0#1"))["pid"], signal.SIGSEGV)
            await live.sees(events.WorkerReady, worker="one-0#2")
            (end,) = live.seen(events.WorkerExited)
            assert end.reason.startswith("killed by SIGSEGV")
            assert not end.expected
            assert not any(map(runs, those))

    with nothing_left():
        anyio.run(story)


def children(live: Live, worker: str) -> list[int]:
    lines = [line.text.split() for line in live.seen(events.LineWritten, worker=worker, stream="stdout")]
    return [int(line[1]) for line in lines if line[0] == "child"]


@pytest.mark.parametrize("apart", [False, True])
def test_a_killed_guard_takes_its_program_along(stage: Stage, apart: bool) -> None:
    """Also one that leads a session of its own."""
    group = tool("one", "say", "here", log="here")
    if apart:
        assert isinstance(group.settings, CommandSettings)
        setsid = shutil.which("setsid") or "setsid"
        argv = (setsid, *group.settings.argv)
        group = replace(group, settings=structs.replace(group.settings, argv=argv, program=setsid))

    async def story() -> None:
        async with stage.running(stage.plan((group,)), policy=HASTY) as live:
            await live.sees(events.Serving)
            program = (await said(live, "one-0#1"))["pid"]
            os.kill(live.seen(events.WorkerSpawned)[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="one-0#2")
            await live.until(lambda: not runs(program))

    anyio.run(story)


def test_nobody_waits_for_the_pulse_of_a_program(stage: Stage) -> None:
    async def story() -> None:
        those = (tool("one", "say", "here", log="here", hung_timeout=0.01),)
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            await anyio.sleep(3.0)  # others would be dead by now
            await stopped(stage, live)
        assert [end.expected for end in live.seen(events.WorkerExited)] == [True]

    anyio.run(story)


def test_a_program_that_ends_at_once_fails_the_start_in_its_own_words(stage: Stage) -> None:
    async def story() -> None:
        those = (tool("one", "leave", 3, log="never said"), *groups())  # without a sign, to live for a moment is enough
        async with stage.running(stage.plan(those), policy=HASTY) as live:
            await live.over.wait()
        assert isinstance(live.failure, SpawnError)
        assert "exited with code 3" in str(live.failure)
        assert "I had rather not" in str(live.failure)
        assert not live.seen(events.GroupStarting, group="cpu")

    with nothing_left():
        anyio.run(story)


def test_who_crashes_too_often_is_given_up_and_the_others_serve_on(stage: Stage) -> None:
    async def story() -> None:
        those = (tool("one", "say", "here", log="here"), *groups(cpu=1, web=0))
        async with stage.running(stage.plan(those), policy=HASTY) as live:
            await live.sees(events.Serving)
            for life in range(1, 4):
                await live.sees(events.WorkerReady, worker=f"one-0#{life}")
                os.kill((await said(live, f"one-0#{life}"))["pid"], signal.SIGKILL)
            await live.sees(events.GroupFailed, group="one")
            assert not live.seen(events.WorkerExited, worker="cpu-0#1")
            assert isinstance(await restarted(stage, "one"), Done)
            await live.sees(events.WorkerReady, worker="one-0#4")

    anyio.run(story)


def test_who_never_becomes_ready_is_ended_and_said_so(stage: Stage) -> None:
    port = free_port()
    those = (tool("one", "say", "not yet", tcp=port, start_timeout=0.4),)

    async def story() -> None:
        async with stage.running(stage.plan(those), policy=HASTY) as live:
            await live.over.wait()
        assert "did not become ready in 0.4 s" in str(live.failure)

    with nothing_left():
        anyio.run(story)


def test_who_is_asked_where_it_stands_says_why_it_is_not_ready(stage: Stage) -> None:
    those = (tool("one", "say", "not yet", tcp=free_port()),)

    async def story() -> None:
        async with stage.running(stage.plan(those)) as live:
            await live.until(lambda: any("not yet" in line.text for line in live.seen(events.LineWritten)))
            guard = live.seen(events.WorkerSpawned)[0].pid

            def asked() -> bool:
                os.kill(guard, signal.SIGQUIT)  # as the supervisor does before it kills
                return any("not ready yet" in line.text for line in live.seen(events.LineWritten))

            await live.until(asked)
            await stopped(stage, live)

    with nothing_left():
        anyio.run(story)


def test_who_is_not_ready_for_long_says_why_by_itself(stage: Stage) -> None:
    port = free_port()

    async def story() -> None:
        async with stage.running(stage.plan((tool("one", "say", "not yet", tcp=port),))) as live:
            await live.until(lambda: any("not ready yet" in line.text for line in live.seen(events.LineWritten)))
            (why,) = [line.text for line in live.seen(events.LineWritten) if "not ready yet" in line.text]
            assert f"port {port}: Connection refused" in why
            await stopped(stage, live)

    with nothing_left():
        anyio.run(story)


def test_nobody_is_taken_for_ready_because_somebody_else_has_its_port(stage: Stage) -> None:
    port = free_port()

    async def story() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            async with stage.running(stage.plan((tool("one", "tcp", port, tcp=port),)), policy=HASTY) as live:
                await live.over.wait()
        assert f"port {port} is taken" in str(live.failure)
        assert not live.seen(events.WorkerReady)

    anyio.run(story)


def test_a_file_that_cannot_be_run_fails_the_start(stage: Stage) -> None:
    plan = tool("one", "say")
    plan = replace(plan, settings=replace_program(plan.settings, str(stage.path / "gone")))

    async def story() -> None:
        async with stage.running(stage.plan((plan,)), policy=HASTY) as live:
            await live.over.wait()
        assert f"{stage.path}/gone cannot be run in /: No such file or directory" in str(live.failure)

    anyio.run(story)


def replace_program(settings: Any, program: str) -> Any:
    return type(settings)(settings.argv, program, settings.directory)


def test_a_stop_ends_children_that_heed_no_signal_and_says_so(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan((tool("one", "family", drain_timeout=0.5),))) as live:
            await live.sees(events.Serving)
            await live.until(lambda: len(children(live, "one-0#1")) == 2)
            await stopped(stage, live)
        assert not any(map(runs, children(live, "one-0#1")))
        end = live.seen(events.WorkerExited)[0]
        assert (end.expected, end.reason) == (True, "ended by SIGTERM, as told")
        assert any("had not ended in time" in line.text for line in live.seen(events.LineWritten))

    with nothing_left():
        anyio.run(story)


def test_who_heeds_no_signal_is_killed_and_nobody_else_is_blamed(stage: Stage) -> None:
    async def story() -> None:
        those = (tool("one", "interrupted", log="waiting", drain_timeout=0.5),)  # and it is told by SIGTERM
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            await stopped(stage, live)
        assert live.seen(events.WorkerExited)[0].reason == "killed: had not ended in 0.5 s after SIGTERM"

    anyio.run(story)


def test_each_is_told_to_end_by_its_own_signal(stage: Stage) -> None:
    async def story() -> None:
        those = (tool("one", "interrupted", stop_signal="SIGINT", log="waiting"),)
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            await stopped(stage, live)
        assert live.seen(events.WorkerExited)[0].reason == "exited with code 0"

    anyio.run(story)


def test_a_restart_never_has_two_at_one_port_unless_they_may_overlap(stage: Stage) -> None:
    one, two = free_port(2), free_port()
    those = (
        tool("alone", "tcp", one, tcp=one, workers=2),
        tool("both", "tcp", two, "shared", tcp=two, overlap=True),
    )

    async def story() -> None:
        async with stage.running(stage.plan(those)) as live:
            await live.sees(events.Serving)
            assert isinstance(await restarted(stage, ""), Done)
            told = order(live)
            for n in (0, 1):
                assert told.index(("WorkerExited", f"alone-{n}#1")) < told.index(("WorkerSpawned", f"alone-{n}#2"))
            assert told.index(("WorkerReady", "alone-0#2")) < told.index(("WorkerExited", "alone-1#1"))
            assert told.index(("WorkerReady", "both-0#2")) < told.index(("WorkerExited", "both-0#1"))
            assert [name for kind, name in told if kind == "GroupUp"] == ["alone", "both", "alone"]

    with nothing_left():
        anyio.run(story)


def test_a_group_has_no_more_workers_than_there_are_ports(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan((tool("one", "tcp", 65_534, tcp=65_534),))) as live:
            await live.sees(events.Serving)
            answer = await anyio.to_thread.run_sync(ask, stage.state_dir, Scale("one", 3))
            assert answer == Refused("one has ports for 2 workers, not for 3", usage=True)
            await stopped(stage, live)

    with nothing_left():
        anyio.run(story)


def theirs(path: Path, supervisor: int) -> list[int]:
    """Guards, and whatever came of their programs: all of it works in one directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            guards = "supervisor.guard" in (words := process.cmdline()) and str(supervisor) in words
            if (guards or process.cwd() == str(path)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_a_supervisor_that_is_killed_leaves_no_program_and_none_of_its_children(stage: Stage) -> None:
    dice, program = random.SystemRandom(), str(Path(staged.__file__).with_name("supervised.py"))
    options = json.dumps({"cpu": 0, "web": 0, "tools": [["one", "family"]]})
    for n in range(5 * SOAK):
        service = Watched(stage.path, stage.state_dir, program, str(stage.path), options)
        try:
            if n:
                time.sleep(dice.uniform(0.2, 1.0))
            else:  # once for sure when all are there, and the guard can do nothing about it by itself
                service.until(lambda service=service: len(service.events("LineWritten", stream="stdout")) == 3)
                assert len(theirs(stage.path, service.pid)) == 4
                os.kill(service.sees("WorkerSpawned")["pid"], signal.SIGSTOP)
            service.process.kill()
            service.ends()
            service.until(lambda service=service: not theirs(stage.path, service.pid))
        finally:
            service.end()
