"""What a worker says of itself is kept, but only so much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipc.messages.lifeline import Broken, Hardened
from supervisor.child import MAX_MISSING, MAX_TRACEBACK, MAX_WHAT, Worker
from supervisor.events import WorkerExposed
from supervisor.life import Broke, Spec

if TYPE_CHECKING:
    import pytest

    from supervisor.events import Event
    from supervisor.life import Event as Happening


class Home:
    """Of a worker that somebody plays."""

    name, pid = "cpu-0#1", 1

    def __init__(self) -> None:
        self.told: list[Event] = []

    def tell(self, event: Event) -> None:
        self.told.append(event)


async def test_what_a_worker_says_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    home: Any = Home()
    worker = Worker(home, Spec(), home)
    happened: list[Happening] = []
    monkeypatch.setattr(worker, "_has", lambda _process: True)
    monkeypatch.setattr(worker, "_happen", happened.append)
    long = "begin" + "x" * 2**20 + "end"
    worker.heard(home, Broken(long, long))
    worker.heard(home, Hardened(1, (long,) * 1000))
    broke = happened[0]
    assert isinstance(broke, Broke)
    assert broke.what.startswith("begin")
    assert len(broke.what) == MAX_WHAT
    assert broke.traceback.endswith("end")
    assert len(broke.traceback) == MAX_TRACEBACK
    (exposed,) = home.told
    assert isinstance(exposed, WorkerExposed)
    assert [len(what) for what in exposed.missing] == [MAX_WHAT] * MAX_MISSING
