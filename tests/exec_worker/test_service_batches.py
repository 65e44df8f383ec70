"""A worker whose node runs calls together: who runs with whom, and that each has its own answer."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exec_worker import alarm, finishing, lane
from exec_worker import service as module
from exec_worker.asked import AskedCall
from exec_worker.asked_batch import AskedBatch
from exec_worker.batches import Turn
from exec_worker.binding import Encoded
from exec_worker.engine import Failure
from exec_worker.lane import Lanes
from ipc.batch import Batch
from ipc.ledger import Ledger
from ipc.messages.calls import (
    FailureMeta,
    Flag,
    Kind,
    ReplyMeta,
    RequestMeta,
    decode_failure,
    decode_reply,
    encode_meta,
)
from ipc.names import new_call_id

sys.path.append(str(Path(__file__).parent))

from test_service import DONE, GRACES, Nodes, Stage, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exec_worker.window import Window

EMBED = "shop.embed"


class Together(Nodes):
    """An engine with a node that runs calls together: a batch ends when the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.batched = {EMBED: Batch(4, 5)}  # type: ignore[misc]
        self.batches: list[tuple[bytes, ...]] = []
        self.running: AskedBatch | None = None

    def run_batch(self, batch: AskedBatch, _window: Window) -> Sequence[Encoded | Failure]:
        self.running = batch
        self.batches.append(tuple(call.id for call in batch.calls))
        result = self.results.get()
        return [result] * len(batch.calls)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setitem(GRACES, EMBED, 0.1)
    stage = Stage(Together())
    for where in (module, finishing, alarm, lane):
        monkeypatch.setattr(where, "now", lambda: stage.time)
    stage.thread.start()
    yield stage
    stage.end()


def embed(web: object, **more: object) -> bytes:
    return web.ask(node=EMBED, last_resort=True, **more)  # type: ignore[attr-defined, no-any-return]


async def ran(stage: Stage, count: int) -> tuple[bytes, ...]:
    batches = stage.nodes.batches  # type: ignore[attr-defined]
    await until(lambda: len(batches) >= count)
    return batches[count - 1]  # type: ignore[no-any-return]


async def test_what_comes_while_a_batch_runs_is_the_next_one(stage: Stage) -> None:
    one, two = stage.clients(2)
    stage.service._batches.ran(EMBED, 1, 0.02)
    first = embed(one)
    assert await ran(stage, 1) == (first,)
    others = tuple(embed(web) for web in (one, two, two, one))
    stage.time += 1 / 64  # longer than calls are held behind others
    stage.finish(Encoded(1, 0, "", (), b"alone"))
    assert await ran(stage, 2) == others
    stage.time += 1 / 128
    stage.finish()
    await until(lambda: len(one.told) == 3 and len(two.told) == 2)
    assert (one.told, two.told) == (["REPLY"] * 3, ["REPLY"] * 2)
    assert one.frames[0].body == b"alone"
    assert [frame.call_id for frame in two.frames] == list(others[1:3])
    assert [decode_reply(frame.meta) for frame in two.frames] == [ReplyMeta(4, 15_625, 7812, 2)] * 2
    assert stage.scoreboard.read() == (5, 0, 0)
    assert not list(stage.ledger.running())


async def test_a_batch_is_no_larger_than_declared(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    await ran(stage, 1)
    calls = [embed(web) for _ in range(6)]
    assert web.told == ["BUSY", "BUSY"]
    stage.finish()
    assert await ran(stage, 2) == tuple(calls[:4])
    stage.finish()
    await until(lambda: len(web.told) >= 7)
    assert sorted(what.partition("+")[0] for what in web.told if what != "READY") == ["BUSY"] * 2 + ["REPLY"] * 5


async def test_who_knows_of_a_free_worker_does_not_wait_behind_a_batch(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    await ran(stage, 1)
    web.ask(node=EMBED)
    embed(web)
    web.ask(node=EMBED)
    assert web.told == ["BUSY", "BUSY"]


async def test_each_call_of_a_batch_has_its_row_until_the_last_of_them_has_no_time(stage: Stage) -> None:
    (web,) = stage.clients(1)
    lone = embed(web, budget_ms=1000)
    await ran(stage, 1)
    (row,) = stage.ledger.running()
    assert (row.call_id, row.kill_at, row.cancel_grace) == (lone, pytest.approx(1001.25, abs=0.5), 0.1)
    calls = {embed(web, budget_ms=budget, beyond_ms=beyond) for budget, beyond in ((1000, 69_000), (60_000, 0))}
    stage.finish()
    await ran(stage, 2)
    rows = list(stage.ledger.running())
    assert {row.call_id for row in rows} == calls
    assert {row.cancel_grace for row in rows} == {float("inf")}
    assert [row.kill_at for row in rows] == pytest.approx([1070.25] * 2, abs=0.5)  # what was said ages on its way
    assert stage.scoreboard.read() == (1, 2, 0)


async def test_who_is_left_of_a_batch_before_it_runs_is_noted_as_alone(stage: Stage) -> None:
    asked = [
        AskedCall(None, new_call_id(), RequestMeta(EMBED, "r", "t", "w"), b"", deadline, 0.0, False, 0.1)  # type: ignore[arg-type]
        for deadline in (3000.0, 1060.0, 1000.0)
    ]
    turn = Turn(EMBED, asked[0], 0.0)
    turn.calls = tuple(asked)
    batch = AskedBatch(turn)
    asked[0].seen.cancelled = True
    with closing(Ledger(-1)) as ledger:
        assert Lanes(stage.nodes, ledger, 0.25, main=False).begin_batch(batch, 1000.0) == [asked[0], asked[2]]
        assert batch.calls == (asked[1],)
        (row,) = ledger.running()
        assert (row.call_id, row.kill_at, row.cancel_grace) == (asked[1].id, 1060.25, 0.1)


async def test_a_batch_goes_on_until_everybody_has_left(stage: Stage) -> None:
    one, two = stage.clients(2)
    embed(one)
    await ran(stage, 1)
    first, second = embed(one), embed(two)
    stage.finish()
    await ran(stage, 2)
    batch = stage.nodes.running  # type: ignore[attr-defined]
    one.say(Kind.CANCEL, second)  # not theirs
    one.say(Kind.CANCEL, first)
    assert [call.seen.cancelled for call in batch.calls] == [True, False]
    assert batch.interrupt is None
    assert [row.kill_at for row in stage.ledger.running()] == pytest.approx([1060.25] * 2, abs=0.5)
    two.leave()
    assert batch.interrupt is not None
    assert [row.kill_at for row in stage.ledger.running()] == pytest.approx([1060.25] * 2, abs=0.5)


async def test_a_batch_is_interrupted_when_the_last_of_them_has_no_time(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    await ran(stage, 1)
    embed(web, budget_ms=10)
    embed(web, budget_ms=30)
    stage.finish()
    await ran(stage, 2)
    batch = stage.nodes.running  # type: ignore[attr-defined]
    stage.time += 0.02
    stage.service._look()
    assert batch.interrupt is None
    stage.time += 0.02
    stage.service._look()
    assert batch.interrupt is not None


async def test_those_that_are_too_late_or_have_left_do_not_run_with_the_others(stage: Stage) -> None:
    one, two = stage.clients(2)
    embed(one)
    await ran(stage, 1)
    late, left, gone, stays = embed(one, budget_ms=1), embed(one), embed(two), embed(one)
    one.say(Kind.CANCEL, left)
    two.leave()
    stage.time += 0.002
    stage.finish()
    assert await ran(stage, 2) == (stays,)
    assert ("CANCELLED", left) in one.exchange()
    assert ("EXPIRED", late) in one.exchange()
    assert gone not in {call_id for _, call_id in two.exchange()}


async def test_a_turn_that_everybody_has_left_leaves_its_place(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask()
    await stage.begun(1)
    call = embed(web)
    web.say(Kind.CANCEL, call)
    assert web.told == ["CANCELLED"]
    stage.finish()
    web.ask(last_resort=True)
    stage.finish()
    await until(lambda: web.told == ["CANCELLED", "REPLY", "REPLY"])
    embed(web)
    await ran(stage, 1)


@pytest.mark.parametrize("how", ["cancelled", "gone"])
async def test_a_turn_that_is_left_while_it_waits_for_company_leaves_its_slot(stage: Stage, how: str) -> None:
    web, other = stage.clients(2)
    gathering = stage.service._batches._gatherings[EMBED]
    gathering.ran(1, 0.1)
    gathering._company[0].chance, gathering._company[0].soon = 1.0, 0.001
    call = embed(web)
    if how == "cancelled":
        web.say(Kind.CANCEL, call)
        assert web.told == ["CANCELLED"]
    else:
        web.leave()
    other.ask()
    await stage.begun(1)
    stage.finish()
    await until(lambda: other.told == ["REPLY"])


async def test_who_came_first_takes_nobody_with_it(stage: Stage) -> None:
    one, two = stage.clients(2)
    embed(one)
    await ran(stage, 1)
    embed(two)
    stays = embed(one)
    two.leave()
    stage.finish()
    assert await ran(stage, 2) == (stays,)


async def test_who_leaves_before_the_lane_has_come_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRACES, EMBED, 0.1)
    stage = Stage(Together())
    for where in (module, finishing, alarm, lane):
        monkeypatch.setattr(where, "now", lambda: stage.time)
    try:
        (web,) = stage.clients(1)
        call = embed(web)
        web.say(Kind.CANCEL, call)
        assert web.told == []
        stage.thread.start()
        await until(lambda: web.exchange() == [("CANCELLED", call)])
        assert stage.nodes.batches == []  # type: ignore[attr-defined]
        assert not list(stage.ledger.running())
    finally:
        stage.end()


async def test_batched_and_plain_nodes_take_turns(stage: Stage) -> None:
    one, two = stage.clients(2)
    stage.service._batches.ran(EMBED, 1, 0.1)
    embed(one)
    await ran(stage, 1)
    stage.time += 0.006  # nobody has come for so long: the next one will not be waited for
    embed(one)
    two.ask(last_resort=True)
    assert two.told == ["BUSY"]
    stage.time += 0.02
    stage.finish()
    await ran(stage, 2)
    await until(lambda: two.told == ["BUSY", "READY"])  # its place is kept, though there is always a next batch
    embed(one)
    two.ask()
    stage.finish()
    await ran(stage, 3)
    stage.finish()
    await stage.begun(1)
    stage.finish()
    await until(lambda: len(one.told) == 3 and len(two.told) == 3)
    assert (one.told, two.told) == (["REPLY"] * 3, ["BUSY", "READY", "REPLY"])


async def test_a_batch_behind_one_that_takes_too_long_is_given_back(stage: Stage) -> None:
    (web,) = stage.clients(1)
    stage.service._batches.ran(EMBED, 1, 0.1)
    embed(web)
    await ran(stage, 1)
    embed(web)
    embed(web)
    stage.time += 0.15
    stage.service._look()
    assert web.told == []
    stage.time += 0.1
    stage.service._look()
    assert web.told == ["BUSY", "BUSY"]


async def test_a_worker_that_waits_for_company_starts_when_it_has_come_and_when_it_has_not(stage: Stage) -> None:
    (web,) = stage.clients(1)
    gathering = stage.service._batches._gatherings[EMBED]
    gathering.ran(1, 0.1)
    gathering._company[0].chance, gathering._company[0].soon = 1.0, 0.001
    first = embed(web)
    assert stage.nodes.batches == []  # type: ignore[attr-defined]
    second = web.ask(node=EMBED)  # that others are free is nothing to this one: it is waited for
    assert await ran(stage, 1) == (first, second)
    stage.finish()
    await until(lambda: len(web.told) == 2)
    embed(web)
    stage.time += 0.004
    await ran(stage, 2)


async def test_a_batch_that_would_wait_for_company_behind_another_is_started_in_time(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    await ran(stage, 1)
    gathering = stage.service._batches._gatherings[EMBED]
    embed(web)
    gathering.ran(1, 1.0)
    gathering._company[0].chance, gathering._company[0].soon = 1.0, 0.001
    stage.finish()
    await until(lambda: web.told == ["REPLY"])
    assert len(stage.nodes.batches) == 1  # type: ignore[attr-defined]
    stage.time += 0.004
    await ran(stage, 2)


async def test_draining_gives_back_what_is_gathered(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    await ran(stage, 1)
    calls = [embed(web), embed(web)]
    stage.service.drain()
    assert web.exchange() == [("DRAINING", call_id) for call_id in calls]
    embed(web)
    assert web.told == ["DRAINING"] * 3
    stage.finish()
    await until(lambda: not stage.thread.is_alive())
    assert web.told == ["DRAINING"] * 3 + ["REPLY"]


async def test_draining_gives_back_what_waits_for_company(stage: Stage) -> None:
    (web,) = stage.clients(1)
    gathering = stage.service._batches._gatherings[EMBED]
    gathering.ran(1, 0.1)
    gathering._company[0].chance, gathering._company[0].soon = 1.0, 0.001
    embed(web)
    stage.service.drain()
    await until(lambda: not stage.thread.is_alive())
    assert web.told == ["DRAINING"]


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_call_that_may_have_killed_a_worker_runs_with_nobody(stage: Stage, leaves: bool) -> None:
    (web,) = stage.clients(1)
    web.ask()
    await stage.begun(1)
    again = new_call_id()
    meta = encode_meta(RequestMeta(EMBED, "r", "t", str(web.name)))
    web.say(Kind.REQUEST, again, meta, flags=Flag.AGAIN | Flag.LAST_RESORT, budget_ms=60_000)
    other = embed(web)
    if leaves:
        web.say(Kind.CANCEL, again)
        assert web.exchange() == [("CANCELLED", again)]
    stage.finish()
    if not leaves:
        call = await stage.begun(2)
        assert (call.id, len(call.seen.items)) == (again, 1)
        stage.finish()
    assert await ran(stage, 1) == (other,)


async def test_one_call_is_not_in_two_batches(stage: Stage) -> None:
    one, two, three = stage.clients(3)
    running = embed(one)
    await ran(stage, 1)
    held = embed(one)
    embed(two, call_id=running)
    embed(three, call_id=held)
    assert (two.told, three.told) == (["NOT_YET"], ["NOT_YET"])
    embed(one, call_id=held)
    assert one.there.aborted


async def test_a_failure_of_one_is_told_to_that_one(stage: Stage) -> None:
    (web,) = stage.clients(1)
    embed(web)
    stage.finish(Failure("node_error", "no"))
    await until(lambda: web.told == ["FAILURE"])
    assert decode_failure(web.frames[0].meta) == FailureMeta(8, "node_error", "no")
    embed(web)
    stage.finish(DONE)
    await until(lambda: web.told == ["FAILURE", "REPLY"])
