"""A pipeline's call as its origin sees it, with workers that say what the test has them say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

import test_caller as callers
from test_caller import ROUTES, Stage, outcome, settled

from ipc import journey, mesh
from ipc.errors import CallTimeout, Cancelled, LinkLost, NodeError, StageUnreached, WorkerDied
from ipc.flow import fate
from ipc.link import refusals
from ipc.messages.calls import FailureMeta, Flag, ForwardedMeta, Kind, NotStarted, encode_meta
from ipc.messages.lifeline import Abandoned, Ended
from ipc.pipeline import legs
from ipc.verdicts import ABANDON_AFTER
from ipc.wire.frame import Refusal

if TYPE_CHECKING:
    from ipc.call import Call

stage, unharmed = callers.stage, callers.unharmed
NODES = ("shop.thumbnail", "shop.train", "shop.render")
WAY = legs(NODES, ROUTES)
A, B, B2, C = "cpu-0#1", "gpu-0#1", "gpu-1#1", "cpu-1#1"


class Row:
    """One call that its first worker has, and what the workers say of it."""

    def __init__(self, stage: Stage, call: Call) -> None:
        self.stage, self.call = stage, call

    def say(self, who: str, kind: Kind, meta: Any = None, body: bytes = b"", flags: int = 0) -> None:
        self.stage.workers[who].say(kind, self.call.id, meta, body, flags)

    async def names(self, who: str, to: str, flags: int = 0) -> None:
        self.say(who, Kind.FORWARDED, ForwardedMeta(1, to), flags=flags)
        await settled()

    async def answers(self, who: str, body: bytes) -> None:
        self.stage.workers[who].reply(self.call.id, body)
        await settled()

    async def fails(self, who: str, error: type[Exception] = NodeError, stage: str = "") -> None:
        self.say(who, Kind.FAILURE, FailureMeta(1, error.code, "no", stage))  # type: ignore[attr-defined]
        await settled()

    @property
    def outcome(self) -> Any:
        return outcome(self.call)


@pytest.fixture
async def row(stage: Stage) -> Row:
    """A call of three legs; the first two groups have two workers each, and `A` has the call."""
    await stage.up(A, B, B2)
    made = Row(stage, stage.call(way=WAY))
    await stage.up(A, C, B, B2)
    assert stage.workers[A].asked == [made.call.id]
    return made


@pytest.mark.usefixtures("unharmed")
async def test_the_last_of_a_chain_of_names_answers(row: Row) -> None:
    await row.names(A, B)
    assert row.call.stage == "shop.train"
    await row.names(B, C)
    assert (row.outcome, row.call.stage) == (None, "shop.render")
    await row.answers(C, b"done")
    assert row.outcome == b"done"


@pytest.mark.usefixtures("unharmed")
async def test_the_first_worker_is_free_as_soon_as_it_has_sent_the_call_on(row: Row) -> None:
    await row.names(A, "", flags=Flag.READY)
    assert row.stage.workers[A].declined == 1
    row.stage.tell(A, B)
    await settled()
    following = row.stage.call()
    await settled()
    assert row.stage.workers[A].asked == [row.call.id, following.id]
    row.stage.workers[A].reply(following.id)
    await row.fails(A, StageUnreached, "shop.train")
    assert row.outcome is StageUnreached
    assert row.call.future.exception().stage == "shop.train"


@pytest.mark.usefixtures("unharmed")
async def test_who_gave_it_back_is_named_no_more(row: Row) -> None:
    await row.names(A, B)
    await row.names(A, B2)
    await row.names(B2, C)
    await row.answers(C, b"done")
    assert row.outcome == b"done"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("order", ["ABC", "ACB", "BAC", "BCA", "CAB", "CBA"])
async def test_words_on_different_links_may_come_in_any_order(row: Row, order: str) -> None:
    for letter in order:
        if letter == "A":
            await row.names(A, B)
        elif letter == "B":
            await row.names(B, C)
        else:
            await row.answers(C, b"done")
    assert row.outcome == b"done"


async def test_a_worker_that_was_not_named_is_refused_and_the_right_answer_arrives(row: Row) -> None:
    await row.names(A, B)
    await row.answers(B2, b"a lie")
    assert row.outcome is None
    await row.names(B, C)
    before = refusals.total()
    await row.answers(C, b"the truth")
    assert row.outcome == b"the truth"
    await settled()
    assert refusals.total() == before + 1
    assert row.stage.workers[B2].lives > 1 or row.stage.workers[B2].link is None


async def test_a_lie_that_comes_before_every_name_does_not_get_in_either(row: Row) -> None:
    await row.answers(B2, b"a lie")
    await row.answers(C, b"another")
    await row.names(A, B)
    await row.names(B, C)
    assert row.outcome == b"another"  # it was named: what it says is its own affair
    assert refusals[Refusal.UNAUTHORISED] >= 1


@pytest.mark.parametrize("to", [A, "web-0#1", "gpu", "net-0#1"])
async def test_a_name_that_cannot_be_ends_the_link_of_who_says_it(row: Row, to: str) -> None:
    first = row.stage.workers[A].link
    await row.names(A, to)
    assert row.stage.workers[A].link is not first
    assert row.outcome is None


async def test_of_a_call_of_one_node_nobody_else_may_speak(stage: Stage) -> None:
    (a, b) = await stage.up(A, B)
    call = stage.call()
    await settled()
    (first, second) = (a.link, b.link)
    b.reply(call.id, b"a lie")
    a.say(Kind.FORWARDED, call.id, ForwardedMeta(1, B))
    await settled()
    assert outcome(call) is None
    assert (a.link is first, b.link is second) == (False, False)


@pytest.mark.usefixtures("unharmed")
async def test_a_late_answer_is_dropped(row: Row) -> None:
    await row.names(A, B)
    row.stage.later(20)
    assert row.outcome is CallTimeout
    assert row.call.future.exception().stage == "shop.train"
    await row.answers(B, b"late")
    await row.answers(B2, b"late, too: its name was on its way")
    assert row.stage.caller.late == 2


@pytest.mark.usefixtures("unharmed")
async def test_who_is_cancelled_is_told_wherever_it_is(row: Row) -> None:
    await row.names(A, B)
    row.stage.caller.cancel(row.call)
    await settled()
    for worker in (A, B):
        assert row.stage.workers[worker].heard_of(Kind.CANCEL) == [row.call.id]
    assert row.stage.workers[B2].heard_of(Kind.CANCEL) == []


@pytest.mark.usefixtures("unharmed")
async def test_a_failing_stage_has_its_name_in_the_error(row: Row) -> None:
    await row.names(A, B)
    await row.fails(B, NodeError, "shop.train")
    assert row.outcome is NodeError
    assert row.call.future.exception().stage == "shop.train"


async def test_a_call_outlives_who_sent_it_on_but_not_both(row: Row) -> None:
    await row.names(A, B)
    row.stage.caller.fate(Ended(A, (row.call.id,), 0.0))
    assert row.outcome is None
    row.stage.caller.fate(Ended(B, (row.call.id,), 0.0))
    assert row.outcome is WorkerDied
    assert row.call.future.exception().stage == "shop.train"


async def test_whoever_was_named_by_one_who_died_is_asked_whether_it_has_the_call(row: Row) -> None:
    await row.names(A, B)
    row.stage.caller.fate(Ended(A, (row.call.id,), 0.0))
    await settled()
    assert row.stage.workers[B].heard_of(Kind.WANTED) == [row.call.id]
    row.stage.workers[B].not_started(row.call.id, NotStarted.CANCELLED)
    await settled()
    assert row.outcome is WorkerDied


async def test_whoever_was_named_is_asked_once_there_is_a_link_to_it(row: Row) -> None:
    await row.stage.up(A, B2)
    await row.names(A, B)
    row.stage.caller.fate(Ended(A, (row.call.id,), 0.0))
    await settled()
    await row.stage.up(B, B2)
    assert row.stage.workers[B].heard_of(Kind.WANTED) == [row.call.id]
    row.stage.workers[B].not_started(row.call.id, NotStarted.CANCELLED)
    await settled()
    assert row.outcome is WorkerDied


@pytest.mark.parametrize("gives_up", [True, False])
async def test_the_supervisor_hears_only_of_calls_that_are_not_given_up(row: Row, gives_up: bool) -> None:
    await row.names(A, B)
    row.stage.caller.cancel(row.call)
    await row.fails(B2 if not gives_up else B, Cancelled, "shop.train")
    row.stage.later(ABANDON_AFTER + 0.1)
    assert row.stage.said == ([] if gives_up else [Abandoned(B, row.call.id)])


@pytest.mark.parametrize("to", ["", B])
async def test_last_words_may_be_read_after_the_news_of_a_death(row: Row, to: str) -> None:
    row.stage.caller.fate(Ended(A, (row.call.id,), 0.0))
    assert row.outcome is None
    await row.names(A, to)
    assert row.stage.workers[B].heard_of(Kind.WANTED) == ([row.call.id] if to else [])
    assert row.outcome is (None if to else WorkerDied)


@pytest.mark.usefixtures("unharmed")
async def test_who_has_sent_it_on_meanwhile_may_say_that_it_has_it_no_more(row: Row) -> None:
    await row.names(A, B)
    row.stage.caller.fate(Ended(A, (row.call.id,), 0.0))
    await row.names(B, C)
    row.stage.workers[B].not_started(row.call.id, NotStarted.CANCELLED)
    await row.answers(C, b"done")
    assert row.outcome == b"done"


async def test_a_result_that_dies_with_its_worker_is_made_again_if_that_does_no_harm(stage: Stage) -> None:
    await stage.up(A, B)
    way = legs(("shop.render", "shop.train"), ROUTES)
    once = Row(stage, stage.call("shop.render", way=way))
    await settled()
    await once.names(A, "")
    stage.caller.fate(Ended(A, (once.call.id,), 0.0))
    assert once.outcome is WorkerDied  # the second stage is not idempotent

    stage.caller._routes = {node: route._replace(idempotent=True) for node, route in stage.caller._routes.items()}
    again = Row(stage, stage.call("shop.render", way=way))
    await stage.up(B, C)
    await again.names(A, "")
    stage.caller.fate(Ended(A, (again.call.id,), 0.0))
    await settled()
    assert again.outcome is None
    assert stage.workers[C].asked == [again.call.id]
    await again.names(C, B)
    await again.answers(B, b"done")
    assert again.outcome == b"done"


async def test_it_is_not_begun_anew_if_a_later_stage_may_not_run_twice(stage: Stage) -> None:
    """The link to the first worker is lost, and the worker lives: it may have sent the call on."""
    stage.caller._routes = {
        node: route._replace(idempotent=node == "shop.thumbnail") for node, route in stage.caller._routes.items()
    }
    await stage.up(A, B)
    call = stage.call("shop.thumbnail", way=WAY)
    await stage.up(A, B, C)
    assert stage.workers[A].asked == [call.id]
    stage.workers[A].link.abort()
    await settled()
    stage.later(fate.PATIENCE + 0.1)
    await settled()
    assert outcome(call) is LinkLost
    assert stage.workers[A].asked + stage.workers[C].asked == [call.id]


@pytest.mark.parametrize("who", [A, B])
async def test_who_is_to_send_it_on_may_not_answer_it(row: Row, who: str) -> None:
    if who == B:
        await row.names(A, B)
    first = row.stage.workers[who].link
    await row.answers(who, b"not the last stage's")
    assert row.outcome is None
    assert row.stage.workers[who].link is not first


@pytest.mark.usefixtures("unharmed")
async def test_what_the_first_run_says_costs_nobody_a_link(stage: Stage) -> None:
    """The link to the first worker is lost with the name that it gave, and the call goes on there, too."""
    stage.caller._routes = {node: route._replace(idempotent=True) for node, route in stage.caller._routes.items()}
    way = legs(("shop.thumbnail", "shop.train"), ROUTES)
    await stage.up(A, B, B2)
    row = Row(stage, stage.call(way=way))
    await settled()
    stage.workers[A].link.abort()
    await stage.up(B, B2, C)
    stage.later(fate.PATIENCE + 0.1)
    await stage.up(A, B, B2, C)
    assert stage.workers[C].asked == [row.call.id]
    links = [stage.workers[name].link for name in (A, B)]
    await row.fails(B, NodeError, "shop.train")
    await row.names(A, B)
    assert row.outcome is None
    await row.names(C, B2)
    await row.answers(B2, b"done")
    assert row.outcome == b"done"
    await settled()
    assert [stage.workers[name].link for name in (A, B)] == links


async def test_a_link_that_is_replaced_stays_until_the_calls_are_over_that_may_be_answered_on_it(row: Row) -> None:
    row.stage.workers[B].renew()
    old = row.stage.workers[B].link
    await row.names(A, B)
    await row.stage.up(A, C, B, B2)
    worker = row.stage.workers[B]
    assert old in worker.olds
    row.stage.caller._mesh._let_go_again()
    await settled()
    assert old in worker.olds
    old.send(Kind.FORWARDED, row.call.id, encode_meta(ForwardedMeta(1, C)))
    await settled()
    await row.answers(C, b"done")
    assert row.outcome == b"done"
    row.stage.time += mesh.SETTLE + 1
    row.stage.caller._mesh._let_go_again()
    await settled()
    assert worker.olds == []


async def test_only_so_many_calls_are_remembered(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey, "REMEMBERED", 1)
    await row.names(A, B)
    row.stage.workers[A].say(Kind.READY)
    other = Row(row.stage, row.stage.call(way=WAY))
    await settled()
    assert row.stage.caller._journeys.knows(row.call.id)  # it is still under way
    await row.fails(B, NodeError, "shop.train")
    assert not row.stage.caller._journeys.knows(row.call.id)
    assert row.stage.caller._journeys.knows(other.call.id)
