"""Frames out of order: on a stream the first gap ends it; where a carrier may reorder, each counts once or never."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import arena
import pytest
from arena import CALL, NOW, TERMS, Ends, pair, refusal, seal

from ipc.link import refusals
from ipc.messages.calls import Kind
from ipc.wire.frame import Refusal
from ipc.wire.replay import LEAST_WINDOW
from ipc.wire.session import IN_ORDER, Carrier
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from ipc.wire.session import Terms

STREAMS = sorted(carrier.name.lower() for carrier in IN_ORDER)
OTHERS = sorted(carrier.name.lower() for carrier in set(Carrier) - IN_ORDER)


@pytest.fixture(params=Alg)
def terms(request: pytest.FixtureRequest) -> Terms:
    return TERMS._replace(alg=request.param)


def test_every_carrier_is_of_one_kind_or_the_other() -> None:
    assert STREAMS == ["memory", "tcp_local", "unix"]
    assert OTHERS == ["redis"]


@pytest.mark.parametrize("carrier", STREAMS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_on_a_stream_what_comes_before_the_first_gap_is_heard_and_nothing_after_it(
    carrier: str, order: tuple[int, ...]
) -> None:
    ends = Ends(TERMS._replace(carrier=carrier)).move()
    for number in range(4):
        ends.near.send(Kind.REQUEST, CALL, body=b"%d" % number)
    frames = list(ends.near_wire.sent)
    in_order = next((at for at, number in enumerate(order) if at != number), 4)
    before = refusals[Refusal.GAP]
    for number in order:
        ends.far.received(frames[number])
    assert [bytes(frame.body) for frame in ends.far_side.frames] == [b"%d" % n for n in range(in_order)]
    assert ends.far_wire.aborted == (in_order < 4)
    assert refusals[Refusal.GAP] - before == (in_order < 4)


@pytest.mark.parametrize("carrier", OTHERS)
def test_elsewhere_each_frame_counts_once_in_whatever_order_they_come(terms: Terms, carrier: str) -> None:
    for order in itertools.permutations(range(5)):
        session = pair(terms._replace(carrier=carrier))
        frames = [seal(session.client, body=b"%d" % number) for number in range(5)]
        for at, number in enumerate(order):
            assert session.server.open(frames[number], NOW).body == b"%d" % number
            for again in order[: at + 1]:
                assert refusal(session.server.open, frames[again], NOW) is Refusal.REPLAY


@pytest.mark.parametrize("carrier", OTHERS)
def test_what_comes_from_behind_the_window_is_too_old_whether_it_was_heard_or_not(terms: Terms, carrier: str) -> None:
    session = pair(terms._replace(carrier=carrier))
    frames = [seal(session.client) for _ in range(3 * LEAST_WINDOW)]
    session.server.open(frames[0], NOW)
    session.server.open(frames[-1], NOW)
    for number, frame in enumerate(frames):
        behind = len(frames) - 1 - number
        reason = refusal(session.server.open, frame, NOW)
        if behind == 0:
            assert reason is Refusal.REPLAY
        elif behind <= LEAST_WINDOW:
            assert reason is None
        else:
            assert reason is Refusal.TOO_OLD
    for frame in frames:
        assert refusal(session.server.open, frame, NOW) in {Refusal.REPLAY, Refusal.TOO_OLD}


@pytest.mark.parametrize("carrier", OTHERS)
def test_forgeries_far_ahead_do_not_push_honest_frames_out_of_the_window(terms: Terms, carrier: str) -> None:
    session = pair(terms._replace(carrier=carrier))
    frames = [seal(session.client) for _ in range(10)]
    for counter in (LEAST_WINDOW, 10**6, 2**62, 2**63 - 1):
        assert refusal(session.server.open, arena.rewritten(frames[0], counter=counter), NOW) is Refusal.MAC
    assert refusal(session.server.open, arena.rewritten(frames[0], counter=2**63), NOW) is Refusal.EXHAUSTED
    for frame in reversed(frames):
        session.server.open(frame, NOW)


@pytest.mark.parametrize("carrier", OTHERS)
def test_an_attacker_who_shuffles_doubles_and_holds_back_gets_nothing_in_twice(terms: Terms, carrier: str) -> None:
    rng = random.Random(5)
    for _ in range(20):
        session = pair(terms._replace(carrier=carrier))
        frames = [seal(session.client, body=b"%d" % number) for number in range(150)]
        carried = [min(150 - 1, int(at * 0.5) + rng.randrange(60)) for at in range(300)]
        heard = [frames[at] for at in carried if arena.accepts(session.server, frames[at])]
        assert len(heard) == len(set(heard)) > 50
