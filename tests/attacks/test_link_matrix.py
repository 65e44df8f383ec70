"""Who is believed by whom: of all senders, receivers, pairs, kinds, epochs and carriers only what belongs together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import arena
import pytest
from arena import EXEC, NOW, OTHER_EXEC, OTHER_WEB, TERMS, WEB, Shaken, refusal, rewritten, seal

from ipc.messages.calls import FROM_EXEC, FROM_WEB, Kind
from ipc.wire.frame import Refusal
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from ipc.names import WorkerName
    from ipc.wire.session import Session, Terms

WEBS = [WEB, OTHER_WEB, WEB._replace(incarnation=WEB.incarnation + 1)]
EXECS = [EXEC, OTHER_EXEC, EXEC._replace(incarnation=EXEC.incarnation + 1)]
EPOCHS = [TERMS.epoch, TERMS.epoch + 1]
EVERYTHING = sorted(set(Kind))


class Place(NamedTuple):
    """Where a session belongs."""

    web: WorkerName
    exec: WorkerName
    terms: Terms


class Said(NamedTuple):
    """A frame, and the only end that may believe it."""

    frame: bytes
    to: Session


def places(alg: Alg) -> list[Place]:
    return [
        Place(web, server, TERMS._replace(alg=alg, epoch=epoch, carrier=carrier))
        for web, server, epoch, carrier in itertools.product(WEBS, EXECS, EPOCHS, arena.carriers())
    ]


@pytest.mark.parametrize("alg", Alg)
def test_a_frame_is_believed_by_the_other_end_of_its_session_alone(alg: Alg) -> None:
    sessions = [arena.pair(terms, web, server) for web, server, terms in places(alg)]
    ends = [end for shaken in sessions for end in (shaken.client, shaken.server)]
    said = [Said(seal(shaken.client, kind), shaken.server) for shaken in sessions for kind in sorted(FROM_WEB)]
    said += [Said(seal(shaken.server, kind), shaken.client) for shaken in sessions for kind in sorted(FROM_EXEC)]
    believed = [(frame, end) for frame, to in said for end in ends if arena.accepts(end, frame)]
    assert believed == list(said)


@pytest.mark.parametrize("alg", Alg)
def test_no_rewriting_of_what_is_in_the_clear_moves_a_frame_to_another_session(alg: Alg) -> None:
    """The attacker knows every id and number, and gives each frame those that its victim waits for."""
    sessions = [arena.pair(terms, web, server) for web, server, terms in places(alg)]
    genuine = []
    for shaken in sessions:
        for sender, to, kinds in ((shaken.client, shaken.server, FROM_WEB), (shaken.server, shaken.client, FROM_EXEC)):
            frame = seal(sender, min(kinds))
            genuine.append(Said(frame, to))
            for victim in sessions:
                for end, heard in ((victim.server, FROM_WEB), (victim.client, FROM_EXEC)):
                    moved = rewritten(frame, sid=end._in_sid, epoch=end.epoch, kind=min(heard), counter=0)
                    if end is not to:
                        assert refusal(end.open, moved, NOW) is Refusal.MAC
    assert all(arena.accepts(to, frame) for frame, to in genuine)


def test_every_kind_goes_one_way_only() -> None:
    """The sender is authentic; that it says what is not its to say is refused all the same."""
    shaken: Shaken = arena.pair()
    for kind in range(256):
        if kind not in FROM_WEB:
            assert refusal(shaken.server.open, seal(shaken.client, kind), NOW) is Refusal.KIND
        if kind not in FROM_EXEC:
            assert refusal(shaken.client.open, seal(shaken.server, kind), NOW) is Refusal.KIND
    assert not FROM_WEB & FROM_EXEC
    assert {32, 33, 34} == set(EVERYTHING) - FROM_WEB - FROM_EXEC


@pytest.mark.parametrize("alg", Alg)
def test_a_hello_is_answered_by_the_one_it_is_for_alone(alg: Alg) -> None:
    everywhere = places(alg)
    servers = sorted({(place.exec, place.terms) for place in everywhere})
    answered = []
    for web, server, terms in everywhere:
        hello = arena.dialer(web, server, terms).hello()
        for other, others in servers:
            if refusal(arena.acceptor(other, others).hello, hello, NOW) is None:
                answered.append(((server, terms), (other, others)))
    assert len(answered) == len(everywhere)
    assert all(meant == by for meant, by in answered)


def test_a_hello_that_was_rewritten_to_fit_is_answered_by_nobody() -> None:
    everywhere = places(Alg.HMAC_SHA256)
    for (web, server, terms), wanted in itertools.product(everywhere, everywhere):
        fits = arena.rewritten_hello(
            arena.dialer(web, server, terms).hello(),
            client=wanted.web.wire_id,
            client_life=wanted.web.wire_incarnation,
            server=wanted.exec.wire_id,
            server_life=wanted.exec.wire_incarnation,
            epoch=wanted.terms.epoch,
            carrier=arena.number_of(wanted.terms),
        )
        reason = refusal(arena.acceptor(wanted.exec, wanted.terms).hello, fits, NOW)
        assert reason is (None if wanted == Place(web, server, terms) else Refusal.MAC)


@pytest.mark.parametrize("epoch", [0, TERMS.epoch - 1, TERMS.epoch + 1, 2**32 - 1])
def test_another_epoch_is_refused_in_frames_and_in_handshakes(epoch: int) -> None:
    """Be it over or not yet begun; also if the attacker has its keys and names the epoch that is."""
    leaked = arena.leaf_of(epoch=epoch)
    terms = TERMS._replace(epoch=epoch)
    assert refusal(arena.acceptor().hello, arena.dialer(terms=terms).hello(), NOW) is Refusal.EPOCH
    assert refusal(arena.acceptor().hello, arena.dialer(leaf=leaked).hello(), NOW) is Refusal.MAC
    of_that_epoch, current = arena.pair(terms), arena.pair()
    frame = seal(of_that_epoch.client)
    assert refusal(current.server.open, frame, NOW) is Refusal.SESSION
    frame = rewritten(frame, sid=current.client._out_sid)
    assert refusal(current.server.open, frame, NOW) is Refusal.EPOCH
    assert refusal(current.server.open, rewritten(frame, epoch=TERMS.epoch), NOW) is Refusal.MAC
    current.server.open(seal(current.client), NOW)
