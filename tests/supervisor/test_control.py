"""The answering side of the control socket: who is answered, and what becomes of nonsense."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from stage import Stage, groups

from ipc.control import NotRunning, address, ask, call
from ipc.messages.control import (
    MAX_ASKED,
    MAX_LINE,
    Answer,
    AskStatus,
    Called,
    CallNode,
    Done,
    Progress,
    Refused,
    Restart,
    RestartWorker,
    Scale,
    Status,
    Stop,
    SupervisorStatus,
    decode_answer,
    encode,
)
from ipc.sockname import Credentials
from supervisor import callers, control, events
from supervisor.control import Control
from supervisor.errors import StartError
from supervisor.statedir import AlreadyRunning, bound, held, links

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

STATUS = Status(SupervisorStatus(1, "0", 0.0, "c"), ())


class Played:
    """A service that says what was asked of it."""

    def __init__(self, managed: Collection[int] = ()) -> None:
        self.managed = managed
        self.stops: list[bool] = []
        self.called: list[tuple[str, bytes, bytes | None]] = []
        self.shown = STATUS
        self.faulty = False

    def status(self) -> Status:
        return self.shown

    async def stop(self, force: bool, progress: Callable[[str], None]) -> None:
        self.stops.append(force)
        for n in range(3):
            progress(f"step {n}")
            await anyio.sleep(0.01)

    async def restart(self, group: str, progress: Callable[[str], None]) -> Done | Refused:
        progress("begun")
        if group == "fault":
            raise RuntimeError("a fault of ours")
        return Done(group)

    async def restart_worker(self, worker: str, progress: Callable[[str], None]) -> Done | Refused:
        progress("begun")
        return Done(worker)

    async def scale(self, group: str, workers: int, progress: Callable[[str], None]) -> Done | Refused:
        progress("begun")
        return Done(f"{group} {workers}")

    async def call(self, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
        self.called.append((order.node, arguments, body))
        if order.node == "endless":
            try:
                await anyio.sleep_forever()
            finally:
                self.called.append(("ended", b"", None))
        if order.node == "fault":
            raise RuntimeError("a fault of ours")
        return Called(len(arguments), media_type="text/plain"), arguments

    def pids(self) -> Collection[int]:
        if self.faulty:
            raise RuntimeError("a fault of ours")
        return self.managed


def converse(
    state_dir: Path, service: Played, talk: Callable[[], object], told: list[events.Event] | None = None
) -> tuple[object, list[events.Event]]:
    """What `talk` returns, run in a thread beside a control server."""
    told = [] if told is None else told

    async def both() -> object:
        with held(state_dir), bound(state_dir) as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Control(service, told.append).serve, listener)
                with anyio.fail_after(60):
                    result = await anyio.to_thread.run_sync(talk)
                tasks.cancel_scope.cancel()
        return result

    return anyio.run(both), told


def raw(state_dir: Path, sent: bytes, *, finished: bool = False) -> list[Answer]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        with address(state_dir) as path:
            client.connect(path)
        with suppress(BrokenPipeError, ConnectionResetError):  # it was sent away before it spoke
            client.sendall(sent)
            if finished:
                client.shutdown(socket.SHUT_WR)
        said = b""
        with suppress(ConnectionResetError):  # nor had been heard
            while data := client.recv(65_536):
                said += data
        return [decode_answer(line) for line in said.splitlines()]


def test_orders_are_answered(tmp_path: Path) -> None:
    told: list[str] = []

    def talk() -> list[Answer]:
        return [
            ask(tmp_path, AskStatus()),
            ask(tmp_path, Restart("cpu"), told.append),
            ask(tmp_path, RestartWorker("cpu-1#2"), told.append),
            ask(tmp_path, Scale("cpu", 3), told.append),
            *raw(tmp_path, encode(Stop(force=True))),
        ]

    service = Played()
    answers, _ = converse(tmp_path, service, talk)
    steps = [Progress(f"step {n}") for n in range(3)]
    assert answers == [STATUS, Done("cpu"), Done("cpu-1#2"), Done("cpu 3"), *steps, Done("stopped")]
    assert told == ["begun"] * 3
    assert service.stops == [True]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"what?\n", "no order this version"),
        (b'{"type": "explode"}\n', "no order this version"),
        (b'{"x":' + b"[" * 60_000 + b"\n", "no order this version"),
        (b'{"type": "restart", "group": "\xff"}\n', "no order this version"),
        (b'{"type": "status", "type": "stop"}\n', "no order this version"),
        (b"x" * (MAX_LINE + 100), f"at most {MAX_LINE} bytes"),
        (b"", "no order came"),
        (b'{"type": "status"}', "no order came"),
    ],
)
def test_nonsense_is_refused_and_nothing_else_happens(tmp_path: Path, sent: bytes, why: str) -> None:
    service = Played()
    answers, told = converse(tmp_path, service, partial(raw, tmp_path, sent, finished=True))
    (answer,) = answers
    assert isinstance(answer, Refused)
    assert why in answer.why
    assert answer.usage
    assert not service.stops
    assert not told


def test_who_says_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    answers, _ = converse(tmp_path, Played(), partial(raw, tmp_path, b'{"type"'))
    assert answers == [Refused("no order came in time", usage=True)]


def test_too_many_at_once_are_sent_away_and_the_others_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)

    def talk() -> list[Answer]:
        with address(tmp_path) as path:
            idle = [socket.socket(socket.AF_UNIX) for _ in range(2)]
            for client in idle:
                client.connect(path)
        crowded = raw(tmp_path, encode(AskStatus()))
        for client in idle:
            client.close()
        while isinstance(answer := raw(tmp_path, encode(AskStatus()))[0], Refused):
            pass
        return [*crowded, answer]

    answers, _ = converse(tmp_path, Played(), talk)
    assert answers == [Refused("too many ask at once; ask again"), STATUS]


def test_a_fault_in_an_answer_is_told_and_ends_nothing(tmp_path: Path) -> None:
    def talk() -> Answer:
        *_, refused = raw(tmp_path, encode(Restart("fault")))
        assert isinstance(refused, Refused)
        return ask(tmp_path, AskStatus())

    answer, told = converse(tmp_path, Played(), talk)
    assert answer == STATUS
    assert "a fault of ours" in str(told[0])


def test_a_fault_in_who_may_ask_ends_nothing(tmp_path: Path) -> None:
    service = Played()
    service.faulty = True

    def talk() -> list[Answer]:
        (refused,) = raw(tmp_path, encode(AskStatus()))
        service.faulty = False
        return [refused, ask(tmp_path, AskStatus())]

    (refused, answer), told = converse(tmp_path, service, talk)  # type: ignore[misc]
    assert isinstance(refused, Refused)
    assert answer == STATUS
    assert "a fault of ours" in str(told[0])


def test_without_descriptors_nobody_is_taken_and_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_PAUSE", 0.05)
    told: list[events.Event] = []

    def talk() -> Answer:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with ExitStack() as stack:
            path = stack.enter_context(address(tmp_path))
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            spare = stack.enter_context(ExitStack())
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
            with suppress(OSError):
                while True:
                    spare.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            for _ in range(3000):
                if told:
                    break
                time.sleep(0.01)
        return ask(tmp_path, AskStatus())

    answer, _ = converse(tmp_path, Played(), talk, told)
    assert answer == STATUS
    assert "takes no clients for now" in str(told[0])
    assert os.strerror(errno.EMFILE) in str(told[0])


def test_a_name_that_is_no_utf_8_is_told_nevertheless(tmp_path: Path) -> None:
    service = Played()
    service.shown = Status(SupervisorStatus(1, "0", 0.0, os.fsdecode(b"bad\xff.yaml")), ())
    answer, _ = converse(tmp_path, service, partial(ask, tmp_path, AskStatus()))
    assert isinstance(answer, Status)
    assert answer.supervisor.config == "bad\\udcff.yaml"


def test_an_order_goes_on_when_who_gave_it_has_left(tmp_path: Path) -> None:
    service = Played()

    def talk() -> None:
        with socket.socket(socket.AF_UNIX) as client, address(tmp_path) as path:
            client.connect(path)
            client.sendall(encode(Stop()))
        while not service.stops:
            pass

    converse(tmp_path, service, talk)
    assert service.stops == [False]


def test_a_call_has_its_arguments_behind_it_and_its_result_behind_the_answer(tmp_path: Path) -> None:
    service = Played()
    large = b"x" * MAX_ASKED

    def talk() -> list[tuple[Called | Refused, bytes]]:
        asked = (("shop.f", b"{}", None), ("shop.f", large, b""), ("fault", b"{}", b"abc"))
        return [
            call(tmp_path, CallNode(node, 5.0, len(given), None if body is None else len(body)), given, body)
            for node, given, body in asked
        ]

    (small, big, fault), told = converse(tmp_path, service, talk)  # type: ignore[misc]
    assert small == (Called(2, media_type="text/plain"), b"{}")
    assert big == (Called(MAX_ASKED, media_type="text/plain"), large)
    assert isinstance(fault[0], Refused)
    assert "a fault of ours" in str(told[0])
    assert service.called == [("shop.f", b"{}", None), ("shop.f", large, b""), ("fault", b"{}", b"abc")]


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (encode(CallNode("shop.f", 5.0, 10)) + b"{}", "did not come"),
        (encode(CallNode("shop.f", 5.0, 2, 10)) + b"{}", "did not come"),
        (encode(CallNode("shop.f", 5.0, MAX_ASKED + 1)), "no order this version"),
        (encode(CallNode("shop.f", 0.0, 2)), "no order this version"),
        (encode(CallNode("shop.f", 1e9, 2)), "no order this version"),
    ],
)
def test_a_call_that_is_not_whole_is_refused(tmp_path: Path, order: bytes, why: str) -> None:
    service = Played()
    (answer,), told = converse(tmp_path, service, partial(raw, tmp_path, order, finished=True))  # type: ignore[misc]
    assert isinstance(answer, Refused)
    assert why in answer.why
    assert answer.usage
    assert not service.called
    assert not told


def test_a_call_ends_when_who_made_it_hangs_up(tmp_path: Path) -> None:
    service = Played()

    def talk() -> None:
        with socket.socket(socket.AF_UNIX) as client, address(tmp_path) as path:
            client.connect(path)
            client.sendall(encode(CallNode("endless", 5.0, 2)) + b"{}")
            while not service.called:
                time.sleep(0.005)
        while len(service.called) < 2:
            time.sleep(0.005)

    converse(tmp_path, service, talk)
    assert service.called == [("endless", b"{}", None), ("ended", b"", None)]


def test_a_worker_may_not_ask(tmp_path: Path) -> None:
    answers, _ = converse(tmp_path, Played({os.getpid()}), partial(raw, tmp_path, encode(Stop())))
    assert answers == [Refused("workers may not give orders")]


def test_workers_that_ask_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    service = Played({os.getpid()})

    def talk() -> Answer:
        with ExitStack() as stack:
            path = stack.enter_context(address(tmp_path))
            for _ in range(8):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(30)
                client.connect(path)
                assert b"workers may not give orders" in client.recv(1000)
            service.managed = ()
            return ask(tmp_path, AskStatus())

    answer, _ = converse(tmp_path, service, talk)
    assert answer == STATUS


@contextmanager
def running(**popen: bool) -> Iterator[int]:
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(argv, **popen) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("apart", [False, True])
def test_neither_may_what_a_worker_or_the_supervisor_started(apart: bool) -> None:
    assert not callers.descends(os.getpid(), {2**22 + 1})
    with running(start_new_session=apart) as pid:
        assert callers.descends(pid, ())
        assert callers.descends(pid, {os.getpid()})
        assert callers.descends(os.getpid(), {os.getsid(0)})


def test_another_user_may_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
        found = callers.refusal(ours, ())
        assert found == ("this is another user's service" if os.getuid() else None)
        monkeypatch.setattr(callers, "credentials", lambda _client: Credentials(os.getpid(), 12345, 12345))
        assert callers.refusal(ours, ()) == "this is another user's service"


def test_who_has_asked_and_is_gone_is_not_somebody_who_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "descends", lambda _pid, _managed: False)  # as it looks if that is somebody harmless
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        asks = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); sys.stdin.read()"
        argv = [sys.executable, "-S", "-c", asks, str(tmp_path / "socket")]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as client:
            connection = listener.accept()[0]
            found = callers.refusal(connection, ())
            client.communicate()
        with connection:
            assert found is None
            assert callers.refusal(connection, ())  # older kernels know no more than that it cannot be told who asked


def test_sockets_of_a_dead_supervisor_s_workers_are_removed_and_a_file_stays(tmp_path: Path) -> None:
    directory = tmp_path / "links"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / "old"))
    (directory / "file").touch()
    with links(directory):
        assert [path.name for path in directory.iterdir()] == ["file"]


def test_only_this_user_can_reach_the_socket(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    with held(state), bound(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "control.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((state / "lock").stat().st_mode) == 0o600
    assert not (state / "control.sock").exists()
    with pytest.raises(NotRunning):
        ask(state, AskStatus())


def test_a_directory_with_a_very_long_name_will_do(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200)
    answer, _ = converse(deep, Played(), partial(ask, deep, AskStatus()))
    assert answer == STATUS


def test_the_lock_decides_and_names_its_holder(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999\n")  # a stale one decides nothing
    with held(tmp_path):
        with pytest.raises(AlreadyRunning, match=str(os.getpid())) as caught, held(tmp_path):
            pass
        assert caught.value.pid == os.getpid()
    with held(tmp_path):
        pass


@pytest.mark.parametrize("planted", ["lock", "state"])
def test_a_planted_link_is_not_followed(tmp_path: Path, planted: str) -> None:
    state = tmp_path / "state"
    if planted == "lock":
        state.mkdir()
        (state / "lock").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "real").mkdir()
        state.symlink_to(tmp_path / "real")
    with pytest.raises(StartError), held(state):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.fault
def test_a_real_worker_and_its_daemon_are_refused(stage: Stage) -> None:
    stage.behave("cpu", "ask")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.until(lambda: stage.notes(said="asked"))

    anyio.run(story)
    (note,) = stage.notes(said="asked")
    assert "workers may not give orders" in note["own"]
    assert "workers may not give orders" in note["daemon"]


def test_a_lock_that_is_another_file_too_is_refused_and_left_alone(tmp_path: Path) -> None:
    state, precious = tmp_path / "state", tmp_path / "precious"
    state.mkdir(mode=0o700)
    precious.write_text("worth keeping")
    os.link(precious, state / "lock")
    with pytest.raises(StartError, match="plain file"), held(state):
        pass
    assert precious.read_text() == "worth keeping"


def test_what_is_no_socket_in_its_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "control.sock").write_text("worth keeping")
    with held(state), pytest.raises(StartError, match="should be a socket"), bound(state):
        pass
    assert (state / "control.sock").read_text() == "worth keeping"
