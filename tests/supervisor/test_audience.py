"""Those who watch: told what happens over a real control socket, at their own pace, and waited for by nobody."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from ipc.control import NoAnswer, Unwilling, address, ask, watching
from ipc.messages.control import (
    Answer,
    AskStatus,
    Done,
    GroupStatus,
    Happened,
    Missed,
    Refused,
    Status,
    SupervisorStatus,
    Watch,
    WorkerStatus,
    decode_answer,
    encode,
)
from supervisor import audience, recent
from supervisor.chronicle import from_json
from supervisor.control import Control
from supervisor.events import Draining, Event, LineWritten, Trouble, WorkerExited
from supervisor.recent import MAX_BEHIND, MAX_EVENT, MAX_KEPT, Recent
from supervisor.statedir import bound, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORKER = WorkerStatus("cpu-0#1", 1, "up", 1, 0, 0.0, 0, 0, 1, "x" * 1000)
STATUS = Status(SupervisorStatus(1, "0", 0.0, "c"), (GroupStatus("cpu", "up", (WORKER,) * 200),))
PATIENCE = 30.0


class Played:
    """A service of which only the status is asked."""

    def status(self) -> Status:
        return STATUS

    def pids(self) -> tuple[int, ...]:
        return ()


class Scene:
    """A control server, beside which a test's own thread talks."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.recent = Recent()
        self.troubles: list[Event] = []
        self._loop: object = None

    def play(self, talk: Callable[[], object]) -> object:
        async def both() -> object:
            with held(self.state_dir), bound(self.state_dir) as listener:
                control = Control(Played(), self.troubles.append, self.recent)  # type: ignore[arg-type]
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(control.serve, listener)
                    with anyio.fail_after(2 * PATIENCE):
                        result = await anyio.to_thread.run_sync(talk)
                        self.ended_after = time.monotonic()
                        await control.finish()
                        self.ended_after = time.monotonic() - self.ended_after
                    tasks.cancel_scope.cancel()
            return result

        return anyio.run(both)

    def happens(self, *events: Event) -> None:
        """In the supervisor's thread, as always."""
        anyio.from_thread.run_sync(lambda: [self.recent.hear(event) for event in events])

    def watchers(self) -> int:
        return anyio.from_thread.run_sync(lambda: len(self.recent._backlogs))

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    @contextmanager
    def client(self, order: Watch) -> Iterator[socket.socket]:
        """One that asked, and reads nothing by itself."""
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(PATIENCE)
            with address(self.state_dir) as path:
                made.connect(path)
            made.sendall(encode(order))
            yield made


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def said(answers: list[Answer]) -> list[str]:
    found = [from_json(answer.line) for answer in answers if isinstance(answer, Happened)]
    return [str(event) for event in found]


def test_the_last_events_come_first_and_then_those_that_happen(scene: Scene) -> None:
    def talk() -> list[str]:
        scene.happens(Trouble("one"), Trouble("two"), LineWritten("cpu-0#1", "stdout", "no event"), Trouble("three"))
        with watching(scene.state_dir, Watch(last=2)) as answers:
            found = [next(answers), next(answers)]
            scene.happens(Trouble("four"), Draining(forced=False))
            return said([*found, next(answers), next(answers)])

    assert scene.play(talk) == ["two", "three", "four", "draining"]
    assert not scene.troubles


def test_who_does_not_follow_is_told_the_last_and_no_more(scene: Scene) -> None:
    def talk() -> list[str]:
        scene.happens(*(Trouble(str(number)) for number in range(MAX_KEPT + 10)))
        with watching(scene.state_dir, Watch(last=10_000, follow=False)) as answers:
            return said(list(answers))

    assert scene.play(talk) == [str(number) for number in range(10, MAX_KEPT + 10)]


def test_a_status_comes_at_once_and_then_at_intervals(scene: Scene) -> None:
    def talk() -> float:
        began = time.monotonic()  # before the first: whoever is late to read it finds the second there already
        with watching(scene.state_dir, Watch(interval=0.1)) as answers:
            assert [next(answers) for _ in range(4)] == [STATUS] * 4
            return time.monotonic() - began

    assert scene.play(talk) >= 0.25  # type: ignore[operator]


def test_who_does_not_read_is_told_how_much_it_missed_and_delays_nobody(scene: Scene) -> None:
    """Statuses fill its socket; then events wait, a bounded number of them; others are told all meanwhile."""
    told = 50 * MAX_BEHIND

    def talk() -> tuple[list[Answer], list[str]]:
        with scene.client(Watch(interval=0.1)) as slow, watching(scene.state_dir, Watch()) as quick:
            scene.until(lambda: scene.watchers() == 2)
            slow.recv(1)
            heard: list[str] = []
            for start in range(0, told, MAX_BEHIND):
                scene.happens(*(Trouble(f"{number} " + "x" * 1000) for number in range(start, start + MAX_BEHIND)))
                heard += said([next(quick) for _ in range(MAX_BEHIND)])
                assert isinstance(ask(scene.state_dir, AskStatus()), Status)
            assert (
                anyio.from_thread.run_sync(lambda: max(len(each._lines) for each in scene.recent._backlogs))
                <= MAX_BEHIND
            )
            scene.happens(Trouble("last"))
            answers: list[Answer] = []
            with slow.makefile("rb") as stream:
                stream.readline()
                while not answers or said(answers[-1:]) != ["last"]:
                    answers.append(decode_answer(stream.readline()))
            return answers, heard

    slow, quick = scene.play(talk)  # type: ignore[misc]
    assert [line.split()[0] for line in quick] == [str(number) for number in range(told)]
    missed = sum(answer.count for answer in slow if isinstance(answer, Missed))
    happened = len(said(slow))
    assert missed > 0
    assert missed + happened == told + 1


def test_who_hangs_up_is_forgotten_at_once_and_whatever_it_says_besides_means_the_same(scene: Scene) -> None:
    def talk() -> None:
        with scene.client(Watch()), scene.client(Watch()) as chatty:
            scene.until(lambda: scene.watchers() == 2)
            chatty.sendall(b"more")
            scene.until(lambda: scene.watchers() == 1)
        scene.until(lambda: scene.watchers() == 0)
        scene.happens(Trouble("nobody hears"))

    scene.play(talk)
    assert not scene.troubles


def test_watchers_are_bounded_and_keep_out_nobody_with_an_order(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_WATCHERS", 2)
    monkeypatch.setattr("supervisor.control.MAX_CLIENTS", 2)

    def talk() -> None:
        with scene.client(Watch()) as one, scene.client(Watch()):
            scene.until(lambda: scene.watchers() == 2)
            for _ in range(3):
                assert isinstance(ask(scene.state_dir, AskStatus()), Status)
                with pytest.raises(Unwilling, match="watch already"), watching(scene.state_dir, Watch()) as more:
                    next(more)
            one.close()
            scene.until(lambda: scene.watchers() == 1)
            with watching(scene.state_dir, Watch(interval=0.5)) as more:
                assert isinstance(next(more), Status)

    scene.play(talk)


def test_the_end_of_the_service_is_heard_and_a_stuck_watcher_does_not_hold_it_up(scene: Scene) -> None:
    stuck: list[socket.socket] = []
    heard: list[list[Answer]] = []

    def talk() -> None:
        for order in (Watch(), Watch(interval=0.1)):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            with address(scene.state_dir) as path:
                client.connect(path)
            client.sendall(encode(order))
            stuck.append(client)
        scene.until(lambda: scene.watchers() == 2)
        scene.happens(*(Trouble("x" * 8000) for _ in range(MAX_BEHIND)))
        scene.happens(Trouble("the last"))

    scene.play(talk)
    assert scene.ended_after < audience.FAREWELL + 10
    for client in stuck:
        with client, client.makefile("rb") as stream, suppress(ValueError):
            heard.append([decode_answer(line) for line in stream if line.endswith(b"\n")])
    assert len(heard) == 2


def test_who_reads_hears_the_last_word_and_then_the_end(scene: Scene) -> None:
    found: list[list[Answer]] = []

    def read() -> None:
        with watching(scene.state_dir, Watch()) as answers:
            found.append(list(answers))

    reader = threading.Thread(target=read)

    def talk() -> None:
        reader.start()
        scene.until(lambda: scene.watchers() == 1)
        scene.happens(Trouble("the last word"))

    scene.play(talk)
    reader.join(PATIENCE)
    assert said(found[0]) == ["the last word"]


@pytest.mark.parametrize(
    "order", [b'{"type":"watch","last":-1}', b'{"type":"watch","interval":1e9}', b'{"type":"watch","interval":"1"}']
)
def test_a_watch_that_makes_no_sense_is_refused(scene: Scene, order: bytes) -> None:
    def talk() -> Answer:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            with address(scene.state_dir) as path:
                client.connect(path)
            client.sendall(order + b"\n")
            with client.makefile("rb") as stream:
                return decode_answer(stream.readline())

    refused = scene.play(talk)
    assert isinstance(refused, Refused)
    assert refused.usage


def test_a_supervisor_that_falls_silent_is_no_end_but_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipc.control.PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as server:
        with address(tmp_path) as path:
            server.bind(path)
        server.listen()
        with pytest.raises(NoAnswer, match="does not answer"), watching(tmp_path, Watch(interval=0.1)) as answers:
            next(answers)
        with watching(tmp_path, Watch()) as answers:
            connections = [server.accept()[0] for _ in range(2)]
            connections[-1].sendall(encode(Missed(3)) + encode(Done("over")))
            assert list(answers) == [Missed(3)]
        for connection in connections:
            connection.close()


def test_an_event_that_is_too_long_for_the_ring_keeps_its_head() -> None:
    ring = Recent()
    ring.hear(
        WorkerExited(
            "web-0#1",
            "cannot import shop",
            expected=False,
            traceback="x" * 10**6 + "the end",
            last_words=("y" * 30_000,) * 20,
        )
    )
    ring.hear(Trouble("z" * 10**6))
    with ring.heard_by(10) as backlog:
        _, (exited, trouble) = backlog.take()
    assert max(len(exited), len(trouble)) <= MAX_EVENT
    event = from_json(exited)
    assert isinstance(event, WorkerExited)
    assert event.reason == "cannot import shop"
    assert event.traceback.endswith("the end")
    assert str(from_json(trouble)).startswith("zzz")
    assert recent.MAX_KEPT * recent.MAX_EVENT <= 8 * 2**20
