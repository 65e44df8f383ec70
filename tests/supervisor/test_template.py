"""Workers that are forked from a warm template: whose children they are, what they hold, and what its death costs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import preloaded
import psutil
import pytest
from preloaded import Shop

from ipc.birth import Belongings, hand_over, wait_for_order
from ipc.confinement import Confinement
from ipc.control import ask
from ipc.errors import BadMessage
from ipc.hardening import Orphaned
from ipc.messages.control import Answer, AskStatus, Done, GroupStatus, Refused, Restart, Status
from ipc.messages.lifeline import Drain, encode
from ipc.names import WorkerName
from supervisor import events, template
from supervisor.keys import Keys
from supervisor.orphans import adopted
from supervisor.spawn import Launcher
from supervisor.warden import Warden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.plan import Plan

pytestmark = pytest.mark.fault

SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(600,), name='ticker', daemon=True).start()"
SOCKET = "import socket; line = socket.socket()"
LATE = "os.register_at_fork(after_in_child=lambda: note('forked') or __import__('time').sleep(0.4))"
LINGERING = "os.register_at_fork(after_in_parent=lambda: __import__('time').sleep(0.3))"
STILLBORN = (
    "os.register_at_fork(after_in_child=lambda: os._exit(1) if __import__('os').path.exists(HERE + '/die') else 0)"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def order(shop: Shop, what: Restart | AskStatus) -> Answer:
    return await anyio.to_thread.run_sync(partial(ask, shop.state_dir, what))


async def cpu(shop: Shop) -> GroupStatus:
    answer = await order(shop, AskStatus())
    assert isinstance(answer, Status)
    return answer.groups[0]


def descriptors(pid: int) -> dict[str, str]:
    return {fd.name: str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def test_workers_come_from_one_import_and_are_the_supervisors_children_with_nothing_of_each_other(shop: Shop) -> None:
    async def story() -> None:
        plan = with_confinement(Shop(shop.path, workers=3).plan(), Confinement(0o027, debug=True))
        async with shop.running(plan) as live:
            await live.sees(events.Serving)
            group = await cpu(shop)
            assert group.template is not None
            assert (group.template.name, group.template.state) == ("cpu-template#1", "up")
            warm, pids = group.template.pid, {worker.pid for worker in group.workers}
            assert [note["pid"] for note in shop.notes("imported")] == [warm]
            started = shop.notes("started")
            assert {note["pid"] for note in started} == pids
            for note in started:
                assert note["parent"] == os.getpid()
                assert note["session"] == note["pid"]
                assert (note["umask"], note["threads"]) == (0o027, 1)
            # Exactly: the standard ones, its lifeline, its page, and its log's second way to standard error.
            theirs = [note["fds"] for note in started]
            for fds, note in zip(theirs, started, strict=True):
                (name,) = (worker.name for worker in group.workers if worker.pid == note["pid"])
                kinds = Counter(re.sub(r"\d+\]", "]", what) for fd, what in fds.items() if "/proc/" not in what)
                memory = f"/memfd:shunter-{name} (deleted)"
                assert kinds == {"/dev/null": 1, "pipe:[]": 3, "socket:[]": 1, memory: kinds[memory]}
                assert kinds[memory] in {1, 2}  # mapped already or not
                assert fds["0"] == "/dev/null"
                assert list(fds.values()).count(fds["2"]) == 2
            private = [{what for what in fds.values() if what.startswith(("pipe", "socket"))} for fds in theirs]
            private.append({what for what in descriptors(warm).values() if what.startswith(("pipe", "socket"))})
            assert len(set.union(*private)) == sum(map(len, private)) == 4 * 3
            assert not [what for what in descriptors(warm).values() if "memfd" in what]
            assert psutil.Process(warm).num_threads() == 1
            assert not psutil.Process(warm).children()
            assert psutil.Process(warm).ppid() == os.getpid()

    anyio.run(story)


def with_confinement(plan: Plan, confinement: Confinement) -> Plan:
    return replace(plan, groups=tuple(replace(group, confinement=confinement) for group in plan.groups))


def holds(pid: int, what: bytes) -> bool:
    """Whether `what` stands in the process's memory."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(half, 16) for half in line.split()[0].split("-"))
            if " rw" in line and end < 2**63:
                memory.seek(start)
                if what in memory.read(end - start):
                    return True
    return False


def test_a_template_never_had_a_key_and_a_worker_has_its_own_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, bytes] = {}
    of_server = Keys.of_server

    def noted(self: Keys, worker: WorkerName, epoch: int) -> bytes:
        return given.setdefault(str(worker), of_server(self, worker, epoch))

    monkeypatch.setattr(Keys, "of_server", noted)

    async def story() -> None:
        plan = with_confinement(Shop(shop.path, workers=2).plan(), Confinement(debug=True))
        async with shop.running(plan) as live:
            await live.sees(events.Serving)
            group = await cpu(shop)
            keys = [given[f"cpu-{slot}#1"] for slot in range(2)]
            found = [[holds(worker.pid, key) for key in keys] for worker in (*group.workers, group.template)]
            assert found == [[True, False], [False, True], [False, False]]

    anyio.run(story)


def test_the_dead_are_replaced_from_the_template_and_nobody_notices_when_that_dies(shop: Shop) -> None:
    async def story() -> None:
        async with shop.running(Shop(shop.path, workers=2).plan()) as live:
            await live.sees(events.Serving)
            first = await cpu(shop)
            os.kill(first.workers[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            assert [note["pid"] for note in shop.notes("imported")] == [first.template.pid]
            os.kill(first.template.pid, signal.SIGKILL)
            os.kill((await cpu(shop)).workers[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#3")
            await live.sees(events.WorkerReady, worker="cpu-template#2")
            group = await cpu(shop)
            os.kill(group.workers[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#4")
            now = await cpu(shop)
            assert (now.workers[1].pid, now.workers[1].restarts) == (first.workers[1].pid, 0)
            assert now.template.pid == group.template.pid
            assert now.workers[0].pid not in {note["pid"] for note in shop.notes("imported")}
            assert {exited.worker for exited in live.seen(events.WorkerExited)} == {
                *(f"cpu-0#{life}" for life in (1, 2, 3)),
                "cpu-template#1",
            }

    anyio.run(story)


def test_a_template_that_dies_with_orders_costs_no_life(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "PATIENCE", 0.3)

    async def story() -> None:
        async with shop.running() as live:
            await live.sees(events.Serving)
            group = await cpu(shop)
            os.kill(group.template.pid, signal.SIGSTOP)
            os.kill(group.workers[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            (stuck,) = live.seen(events.WorkerExited, worker="cpu-template#1")
            assert stuck.reason == "killed: did not fork cpu-0#2 in 0.3 s"
            assert (await cpu(shop)).workers[0].pid in {note["pid"] for note in shop.notes("imported")}
            assert not live.seen(events.WorkerExited, worker="cpu-0#2")

    anyio.run(story)


def test_a_worker_waits_until_it_is_the_supervisors(tmp_path: Path) -> None:
    shop = Shop(tmp_path, LINGERING)

    async def story() -> None:
        async with shop.running() as live:
            await live.sees(events.Serving)
            (started,) = shop.notes("started")
            assert started["parent"] == os.getpid()
            assert len(shop.notes("imported")) == 1

    anyio.run(story)


def test_a_worker_that_dies_in_its_birth_is_started_by_exec(tmp_path: Path) -> None:
    shop = Shop(tmp_path, STILLBORN)

    async def story() -> None:
        async with shop.running() as live:
            await live.sees(events.Serving)
            (tmp_path / "die").touch()
            group = await cpu(shop)
            os.kill(group.workers[0].pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            assert (await cpu(shop)).template.pid == group.template.pid
            assert len(shop.notes("imported")) == 2
            assert not live.seen(events.WorkerExited, worker="cpu-0#2")

    anyio.run(story)


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGINT)], ids=["drain", "force"])
def test_a_worker_in_its_birth_can_be_stopped(tmp_path: Path, signals: tuple[int, ...]) -> None:
    shop, before = Shop(tmp_path, LATE), descendants()

    async def story() -> None:
        async with shop.running() as live:
            await live.until(lambda: shop.notes("forked"))
            for signum in signals:
                os.kill(os.getpid(), signum)
            await live.over.wait()
            assert descendants() <= before

    anyio.run(story)


def test_a_start_that_waits_for_its_template_can_be_stopped(shop: Shop) -> None:
    before = descendants()

    async def story() -> None:
        plan = shop.plan()
        shop.write("note('asleep')\nimport time\ntime.sleep(600)")
        async with shop.running(plan) as live:
            await live.until(lambda: shop.notes("asleep"))
            os.kill(os.getpid(), signal.SIGTERM)
            await live.over.wait()
            assert live.failure is None
            assert descendants() <= before

    anyio.run(story)


def test_a_group_serves_without_the_template_that_crashes_whenever_it_is_started(shop: Shop) -> None:
    async def story() -> None:
        plan = shop.plan()
        shop.write("import sys\nif '--template' in sys.argv: os._exit(9)")
        async with shop.running(plan) as live:
            await live.sees(events.Serving)
            group = await cpu(shop)
            assert group.state == "up"
            assert group.template.state in {"waiting", "starting"}
            assert "exited with code 9" in group.template.reason
            assert {note["pid"] for note in shop.notes("started")} == {worker.pid for worker in group.workers}

    anyio.run(story)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("import no_such_shelf", "No module named 'no_such_shelf'"),
        (THREAD, "starts threads, which a forked worker would not have: ticker"),
        (SOCKET, r"opens what workers cannot share: socket:\[\d+\]"),
    ],
)
def test_what_cannot_be_preloaded_is_not_started_and_told_at_once(shop: Shop, more: str, words: str) -> None:
    async def story() -> None:
        plan = shop.plan()
        shop.write(more)
        async with shop.running(plan) as live:
            await live.over.wait()
            assert re.search(words, f"{live.failure} {getattr(live.failure, 'last_words', '')}")
            assert {event.worker for event in live.seen(events.WorkerExited)} == {"cpu-template#1"}

    anyio.run(story)


def test_files_that_were_opened_at_import_are_there_in_every_worker(tmp_path: Path) -> None:
    (tmp_path / "stock").write_text("ham\n")
    more = """
stock = open(f"{HERE}/stock")

@on_worker_start
def ask():
    note("read", stock=os.pread(stock.fileno(), 3, 0).decode())
"""
    shop = Shop(tmp_path, more, workers=2)

    async def story() -> None:
        async with shop.running() as live:
            await live.sees(events.Serving)
            assert [note["stock"] for note in shop.notes("read")] == ["ham", "ham"]

    anyio.run(story)


def test_a_restart_takes_a_template_with_the_new_code_or_leaves_everything_as_it_was(shop: Shop) -> None:
    async def story() -> None:
        async with shop.running(Shop(shop.path, workers=2).plan()) as live:
            await live.sees(events.Serving)
            before = await cpu(shop)
            shop.write("import no_such_shelf")
            refused = await order(shop, Restart("cpu"))
            assert isinstance(refused, Refused)
            assert "No module named 'no_such_shelf'" in refused.why
            after = await cpu(shop)
            assert [worker.pid for worker in after.workers] == [worker.pid for worker in before.workers]
            assert after.template.pid == before.template.pid
            os.kill(before.workers[0].pid, signal.SIGKILL)  # and the old code is still there for who needs it
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            shop.write("VERSION = 2")
            assert await order(shop, Restart("cpu")) == Done("restarted cpu")
            now = await cpu(shop)
            assert now.template.name == "cpu-template#3"
            assert [note["version"] for note in shop.notes("started")] == [1, 1, 1, 2, 2]
            assert not psutil.pid_exists(before.template.pid)

    anyio.run(story)


def test_a_restart_whose_first_worker_does_not_come_up_keeps_the_old_template(shop: Shop) -> None:
    async def story() -> None:
        async with shop.running() as live:
            await live.sees(events.Serving)
            before = await cpu(shop)
            shop.write("@on_worker_start\ndef refuse(): raise RuntimeError('no coins')")
            refused = await order(shop, Restart("cpu"))
            assert isinstance(refused, Refused)
            assert "no coins" in refused.why
            after = await cpu(shop)
            assert (after.workers[0].pid, after.template.pid) == (before.workers[0].pid, before.template.pid)

    anyio.run(story)


@pytest.mark.parametrize("moment", [0, 1, 2, 3] * SOAK)
def test_a_supervisor_that_is_killed_leaves_nobody_whatever_is_being_born(tmp_path: Path, moment: int) -> None:
    """After so many forks have been noted: of the process between, of the worker, of the next one's, and so on."""
    notes = Shop(tmp_path, LATE, workers=2).notes
    with adopted(), (tmp_path / "said").open("wb") as said:
        started = subprocess.Popen(
            [sys.executable, preloaded.__file__, str(tmp_path)], stdout=said, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: len(notes("forked")) >= moment and notes("imported")[1:], tmp_path)
        finally:
            started.kill()
            started.wait()
        wait_until(lambda: not living(), tmp_path)


def wait_until(true: Callable[[], object], path: Path) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, (path / "said").read_text()
        time.sleep(0.01)


def descendants() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def living() -> list[int]:
    """Descendants of this process, which has adopted all that were left behind."""
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, 0)
    return [child.pid for child in psutil.Process().children(recursive=True)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_orders_that_wait_are_taken_one_at_a_time_each_with_what_belongs_to_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    files = [os.memfd_create(str(n)) for n in range(8)]
    before = psutil.Process().num_fds()
    assert hand_over(near, Belongings(*files[:4]))
    assert hand_over(near, Belongings(*files[4:]))
    for those in (files[:4], files[4:]):
        taken = wait_for_order(far)
        assert psutil.Process().num_fds() == before + 4
        assert [os.fstat(fd).st_ino for fd in taken] == [os.fstat(fd).st_ino for fd in those]
        assert not any(os.get_inheritable(fd) for fd in taken)
        for fd in taken:
            os.close(fd)
    for fd in files:
        os.close(fd)
    near.close()
    with pytest.raises(Orphaned):
        wait_for_order(far)
    assert not hand_over(far, Belongings(0, 0, 0, 0))


def test_a_template_takes_nothing_else_for_an_order(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    near.sendall(encode(Drain(1.0)))
    with pytest.raises(BadMessage):
        wait_for_order(far)


def test_a_template_that_does_not_read_is_not_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    near, _far = ends
    with Path(os.devnull).open() as null:
        sent = 0
        while hand_over(near, Belongings(*[null.fileno()] * 4)):
            sent += 1
        assert 10 < sent < 10_000


def test_whoever_is_no_child_of_ours_is_not_who_was_ordered() -> None:
    warden = Warden(lambda _event: None)  # it need not run
    with Path(os.devnull).open() as null:
        launcher = Launcher({}, warden=warden)
        made = launcher.fork(WorkerName("cpu", 0, 1), lambda belongings: belongings.page > 2, Confinement(), 1)
        assert made is not None
        grandchild = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=null)
        try:
            assert [made.is_born_as(pid) for pid in (1, os.getpid(), 2**22 + 1)] == [False] * 3
            warden.note(grandchild.pid)
            assert not made.is_born_as(grandchild.pid), "F44: another worker has the number of who spoke"
            warden.forget(grandchild.pid)
            assert made.is_born_as(grandchild.pid)
        finally:
            grandchild.kill()
            assert made.end().startswith("killed by SIGKILL (not by Shunter")
            grandchild.wait()
            grandchild.stdin.close()
            made.lifeline.close()
            os.close(made.stdout)
            os.close(made.stderr)
