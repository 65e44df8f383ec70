"""What is sent back to its sender says nothing to it: neither a frame of a session nor a message of a handshake."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import arena
import pytest
from arena import CALL, EXEC, NOW, OTHER_EXEC, TERMS, Ends, refusal, rewritten, seal

from ipc.messages.calls import FROM_EXEC, FROM_WEB
from ipc.wire.frame import Refusal
from ipc.wire.handshake import ACCEPT_SIZE, FINISH_SIZE, HELLO_SIZE
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from ipc.wire.session import Terms


@pytest.fixture(params=Alg)
def terms(request: pytest.FixtureRequest) -> Terms:
    return TERMS._replace(alg=request.param)


def test_every_frame_of_a_session_is_refused_by_its_own_sender(terms: Terms) -> None:
    session = arena.pair(terms)
    said = [(session.client, kind) for kind in sorted(FROM_WEB)] + [
        (session.server, kind) for kind in sorted(FROM_EXEC)
    ]
    answers = {session.client: sorted(FROM_EXEC), session.server: sorted(FROM_WEB)}
    for sender, kind in said:
        frame = seal(sender, kind, body=b"body", call_id=CALL)
        assert refusal(sender.open, frame, NOW) is Refusal.KIND
        for other in answers[sender]:  # what it could have heard, under each id and number it might take
            relabelled = rewritten(frame, kind=other)
            assert refusal(sender.open, relabelled, NOW) is Refusal.SESSION
            at_home = rewritten(relabelled, sid=sender._in_sid)
            assert refusal(sender.open, rewritten(at_home, counter=0), NOW) is Refusal.MAC


def test_every_message_of_a_handshake_is_refused_by_its_own_sender(terms: Terms) -> None:
    near, far = arena.dialer(terms=terms), arena.acceptor(terms=terms)
    hello = near.hello()
    assert refusal(near.accept, hello, NOW) is Refusal.LENGTH
    accept = far.hello(hello, NOW)
    assert refusal(far.finish, accept, NOW) is Refusal.LENGTH
    assert refusal(far.hello, accept, NOW) is Refusal.LENGTH
    finish, _ = near.accept(accept, NOW)
    assert refusal(near.accept, finish, NOW) is Refusal.LENGTH
    sizes = {"hello": HELLO_SIZE, "accept": ACCEPT_SIZE, "finish": FINISH_SIZE}
    for one, two in itertools.permutations([hello, accept, finish], 2):
        stretched = (two + bytes(256))[: len(one)]  # the size is right, and the start, and the proof
        for moved in (stretched, one[:4] + stretched[4:], stretched[:-32] + two[-32:], one[:-32] + two[-32:]):
            if len(one) == sizes["accept"] and moved != accept:
                assert refusal(near.accept, moved, NOW) is not None
            if len(one) == sizes["finish"] and moved != finish:
                assert refusal(far.finish, moved, NOW) is not None
            if len(one) == sizes["hello"] and moved != hello:
                assert refusal(far.hello, moved, NOW) is not None
    far.finish(finish, NOW)


def test_a_client_talks_to_itself_in_vain(terms: Terms) -> None:
    """Two clients are joined to each other: each gets the other's HELLO for an ACCEPT."""
    one, two = Ends(terms), Ends(terms)
    one.near.received(two.near_wire.sent.popleft())
    two.near.received(one.near_wire.sent.popleft())
    for ends in (one, two):
        assert ends.near_wire.aborted
        assert not ends.near_side.up


def test_two_servers_joined_say_nothing_at_all(terms: Terms) -> None:
    """Neither begins; and what one would say to a client is no HELLO for the other."""
    one, two = Ends(terms, server=EXEC), Ends(terms, server=OTHER_EXEC)
    one.far.received(one.near_wire.sent.popleft())
    two.far.received(one.far_wire.sent.popleft())
    assert two.far_wire.aborted
    assert two.far_wire.said == []


def test_the_proofs_of_a_session_have_nothing_in_common_with_its_frames(terms: Terms) -> None:
    """No message of the handshake is a frame of the session that it makes, nor the other way round."""
    session = arena.pair(terms)
    for end in (session.client, session.server):
        for message in session.messages:
            assert not arena.accepts(end, message)
            assert not arena.accepts(end, rewritten(message.ljust(96, b"\0"), sid=end._in_sid, counter=0))
    near, far = arena.dialer(terms=terms), arena.acceptor(terms=terms)
    accept = far.hello(near.hello(), NOW)
    for frame in (seal(session.client), seal(session.server, 16)):
        assert refusal(near.accept, frame[:ACCEPT_SIZE], NOW) is not None
        assert refusal(far.finish, frame[:FINISH_SIZE], NOW) is not None
    near.accept(accept, NOW)
