"""What keys of another epoch are worth to somebody who has them: before, during and after a rotation."""

from __future__ import annotations

import itertools

import arena
import pytest
from arena import CALL, EXEC, TERMS, WEB, Side, Wire

from ipc.errors import Misuse
from ipc.link import Link, dialling, refusals
from ipc.messages.calls import Kind
from ipc.responder import MAX_EPOCHS, Responder
from ipc.wire.frame import Refusal

OLD, NEW = TERMS.epoch, TERMS.epoch + 1


class Worker(Side):
    """An exec worker's calls, and its responder under the keys of the old epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.responder = Responder(EXEC, arena.secret_of(epoch=OLD), TERMS, self)


class Client:
    """A web worker, or somebody who stole the leaf of one, on a connection of its own."""

    def __init__(self, worker: Worker, epoch: int, leaf: bytes = b"") -> None:
        self.side, self.wire, self.there = Side(), Wire(), Wire()
        terms = TERMS._replace(epoch=epoch)
        self.near: Link = dialling(self.side, WEB, EXEC, leaf or arena.leaf_of(epoch=epoch), terms)
        self.far, _lock = worker.responder.new_end()
        self.far.opened(self.there)
        self.near.opened(self.wire)

    def step(self, count: int = 100) -> Client:
        """Carry so many messages across, or all there are."""
        for _ in range(count):
            if self.wire.sent:
                self.far.received(self.wire.sent.popleft())
            elif self.there.sent:
                self.near.received(self.there.sent.popleft())
        return self

    def ask(self) -> None:
        self.near.send(Kind.REQUEST, CALL)
        self.step()


@pytest.fixture
async def worker() -> Worker:
    return Worker()


@pytest.mark.parametrize("epoch", [0, OLD - 1, NEW, 2**32 - 1])
async def test_before_a_rotation_only_the_epoch_that_is_opens_anything(worker: Worker, epoch: int) -> None:
    before = refusals[Refusal.EPOCH]
    client = Client(worker, epoch).step()
    assert (client.side.up, client.there.aborted, client.there.said) == (False, True, [])
    assert refusals[Refusal.EPOCH] == before + 1
    assert Client(worker, OLD).step().side.up


async def test_during_a_rotation_each_epochs_keys_open_links_of_that_epoch(worker: Worker) -> None:
    worker.responder.install(NEW, arena.secret_of(epoch=NEW))
    for epoch, leaf in itertools.product((OLD, NEW), repeat=2):
        client = Client(worker, epoch, arena.leaf_of(epoch=leaf)).step()
        assert client.side.up == (epoch == leaf)
    for epoch in (OLD - 1, NEW + 1):
        assert not Client(worker, epoch).step().side.up


async def test_after_a_retirement_the_old_keys_open_nothing(worker: Worker) -> None:
    worker.responder.install(NEW, arena.secret_of(epoch=NEW))
    worker.responder.retire(NEW)
    for epoch in (OLD, NEW):  # under its own name, and under that of the epoch that is
        client = Client(worker, epoch, arena.leaf_of(epoch=OLD)).step()
        assert (client.side.up, client.there.aborted, client.there.said) == (False, True, [])
    assert Client(worker, NEW).step().side.up


async def test_a_link_of_the_old_epoch_begins_nothing_after_its_retirement(worker: Worker) -> None:
    """But what it had begun is answered, and may be called off. What comes too late is given back: see the service."""
    client = Client(worker, OLD).step()
    client.ask()
    assert len(worker.frames) == 1
    worker.responder.install(NEW, arena.secret_of(epoch=NEW))
    worker.responder.retire(NEW)
    client.near.send(Kind.CANCEL, CALL)
    client.step()
    client.far.send(Kind.REPLY, CALL)
    client.step()
    assert [frame.kind for frame in worker.frames] == [Kind.REQUEST, Kind.CANCEL]
    assert [frame.kind for frame in client.side.frames] == [Kind.REPLY]
    assert client.far.ending
    fresh = Client(worker, NEW).step()
    assert not fresh.far.ending


@pytest.mark.parametrize("messages", [0, 1, 2])
async def test_a_handshake_that_straddles_a_retirement_makes_no_link(worker: Worker, messages: int) -> None:
    worker.responder.install(NEW, arena.secret_of(epoch=NEW))
    client = Client(worker, OLD).step(messages)
    worker.responder.retire(NEW)
    client.step()
    client.ask()
    assert worker.frames == []
    assert client.there.aborted


async def test_recorded_frames_of_one_epoch_are_nothing_in_the_next(worker: Worker) -> None:
    client = Client(worker, OLD).step()
    client.ask()
    worker.responder.install(NEW, arena.secret_of(epoch=NEW))
    victim = Client(worker, NEW).step()
    for frame in client.wire.said[2:]:
        assert arena.refusal(victim.far.session.open, frame, 0) is Refusal.SESSION
        moved = arena.rewritten(frame, sid=victim.far.session._in_sid)
        assert arena.refusal(victim.far.session.open, moved, 0) is Refusal.EPOCH
        moved = arena.rewritten(moved, epoch=NEW)
        assert arena.refusal(victim.far.session.open, moved, 0) is Refusal.MAC


async def test_epochs_only_grow_and_few_are_kept(worker: Worker) -> None:
    """So that nobody who can make a worker take one key makes it take an old one."""
    for epoch in (OLD, OLD - 1, 0):
        with pytest.raises(Misuse):
            worker.responder.install(epoch, arena.secret_of(epoch=epoch))
    for epoch in range(NEW, NEW + 5):
        worker.responder.install(epoch, arena.secret_of(epoch=epoch))
    with pytest.raises(Misuse):
        worker.responder.retire(NEW + 9)
    for epoch in range(OLD, NEW + 5):
        assert Client(worker, epoch).step().side.up == (epoch >= NEW + 5 - MAX_EPOCHS)
