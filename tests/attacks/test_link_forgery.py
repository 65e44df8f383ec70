"""Nobody without the key gets a frame accepted, and no attempt uses a number up: bent, cut, spliced or invented."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import arena
import pytest
from arena import CALL, NOW, SOAK, TERMS, Ends, pair, refusal, rewritten, seal
from hypothesis import given
from hypothesis import strategies as st

from ipc.link import refusals
from ipc.messages.calls import Kind
from ipc.wire.frame import HEADER, HEADER_SIZE, MAGIC, VERSION, Refusal, Refuse
from ipc.wire.handshake import ACCEPT_SIZE, FINISH_SIZE, HELLO_SIZE
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipc.wire.session import Terms

FORGERIES = 10_000 * min(SOAK, 10)


@pytest.fixture(params=Alg)
def terms(request: pytest.FixtureRequest) -> Terms:
    return TERMS._replace(alg=request.param)


def one_bit_off(message: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(message)):
        bent = bytearray(message)
        bent[bit // 8] ^= 1 << bit % 8
        yield bytes(bent)


def cut_short(message: bytes) -> Iterator[bytes]:
    return (message[:size] for size in range(len(message)))


def guesses(rng: random.Random, sid: int, tag: int) -> Iterator[bytes]:
    """Frames that are right in all that an observer knows, the id of the session included; but for the tag."""
    while True:
        body = rng.randbytes(rng.randrange(48))
        fields = (
            MAGIC, VERSION, rng.choice([1, 3, 5, 7]), rng.choice([0, 8, 16]), 1 if tag == 32 else 2, 0, len(body),
            TERMS.epoch, sid, rng.choice([0, 0, 0, 1, rng.getrandbits(63)]), NOW, CALL, 0, rng.getrandbits(32),
        )  # fmt: skip
        yield HEADER.pack(*fields) + body + rng.choice([rng.randbytes(tag), bytes(tag), b"\xff" * tag])


@pytest.mark.soak
def test_no_forgery_is_accepted_and_none_burns_a_number(terms: Terms) -> None:
    rng = random.Random(7)
    session = pair(terms)
    sid, tag = session.client._out_sid, session.client._tag
    genuine = [seal(session.client, body=b"%d" % n) for n in range(3)]
    for frame in itertools.islice(guesses(rng, sid, tag), FORGERIES // len(Alg)):
        assert refusal(session.server.open, frame, NOW) in {Refusal.MAC, Refusal.GAP}
    assert [bytes(session.server.open(frame, NOW).body) for frame in genuine] == [b"0", b"1", b"2"]


def test_the_tag_of_one_frame_is_none_of_another(terms: Terms) -> None:
    session = pair(terms)
    tag = session.client._tag
    frames = [seal(session.client, body=b"%d" % n) for n in range(4)]
    for one, two in itertools.permutations(frames, 2):
        assert not arena.accepts(session.server, one[:-tag] + two[-tag:])
    for frame in frames:
        session.server.open(frame, NOW)


@pytest.mark.parametrize(
    "frame",
    [
        {"kind": Kind.REQUEST, "meta": b"\x90", "body": b"a body", "call_id": CALL, "flags": 8, "budget_ms": 5},
        {"kind": Kind.CANCEL, "call_id": CALL},
        {"kind": Kind.DECLINE},
    ],
    ids=["request", "cancel", "decline"],
)
def test_no_bit_and_no_byte_of_a_frame_may_be_missing_or_other(terms: Terms, frame: dict[str, Any]) -> None:
    session = pair(terms)
    genuine, following = seal(session.client, **frame), seal(session.client)
    for spoiled in itertools.chain(one_bit_off(genuine), cut_short(genuine)):
        assert not arena.accepts(session.server, spoiled)
    for more in (b"\0", bytes(32), genuine, following):
        assert not arena.accepts(session.server, genuine + more)
        assert not arena.accepts(session.server, more + genuine)
    session.server.open(genuine, NOW)
    session.server.open(following, NOW)


def test_no_bit_and_no_byte_of_a_handshake_may_be_missing_or_other(terms: Terms) -> None:
    """Each message is refused in every other form, and the genuine one still does."""
    near, far = arena.dialer(terms=terms), arena.acceptor(terms=terms)
    hello = near.hello()
    for spoiled in itertools.chain(one_bit_off(hello), cut_short(hello), [hello + b"\0"]):
        assert refusal(far.hello, spoiled, NOW) is not None
        assert far.client == b""  # nothing is kept about who has proved nothing
    accept = far.hello(hello, NOW)
    for spoiled in itertools.chain(one_bit_off(accept), cut_short(accept), [accept + b"\0"]):
        assert refusal(near.accept, spoiled, NOW) is not None
    finish, client = near.accept(accept, NOW)
    for spoiled in itertools.chain(one_bit_off(finish), cut_short(finish), [finish + b"\0"]):
        assert refusal(far.finish, spoiled, NOW) is not None
    far.finish(finish, NOW).open(seal(client), NOW)
    assert {len(hello), len(accept), len(finish)} == {HELLO_SIZE, ACCEPT_SIZE, FINISH_SIZE}


@given(st.sampled_from(Alg), st.data())
def test_two_frames_cut_and_joined_anywhere_are_no_third(alg: Alg, data: st.DataObject) -> None:
    session = pair(TERMS._replace(alg=alg))
    bodies = data.draw(st.lists(st.binary(max_size=80), min_size=2, max_size=2))
    one, two = (seal(session.client, body=body) for body in bodies)
    first, second = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(two)))
    joined = one[:first] + two[second:]
    middle = data.draw(st.integers(0, len(one)))
    woven = one[: min(first, middle)] + two[min(first, middle) : max(first, middle)] + one[max(first, middle) :]
    for spliced in (joined, woven):
        if spliced not in {one, two}:
            assert not arena.accepts(session.server, spliced)
    session.server.open(one, NOW)
    session.server.open(two, NOW)


@given(st.sampled_from(Alg), st.integers(0, HEADER_SIZE - 1), st.binary(min_size=1, max_size=16))
def test_no_header_but_the_genuine_one_is_accepted(alg: Alg, at: int, written: bytes) -> None:
    session = pair(TERMS._replace(alg=alg))
    frame = seal(session.client, body=b"body")
    forged = frame[:at] + written[: HEADER_SIZE - at] + frame[at + len(written[: HEADER_SIZE - at]) :]
    if forged != frame:
        assert not arena.accepts(session.server, forged)
    session.server.open(frame, NOW)


def test_no_algorithm_but_the_sessions_own_and_no_way_without(terms: Terms) -> None:
    session = pair(terms)
    genuine = seal(session.client, body=b"body")
    tag = session.client._tag
    for alg in set(range(256)) - {terms.alg}:
        for end in (genuine[-tag:], b"", bytes(16), bytes(32)):
            frame = rewritten(genuine, alg=alg)[:-tag] + end
            assert refusal(session.server.open, frame, NOW) in {Refusal.ALG, Refusal.SHORT}
    for end in (b"", genuine[-tag : -tag // 2], bytes(tag - 1)):
        assert refusal(session.server.open, genuine[:-tag] + end, NOW) in {Refusal.LENGTH, Refusal.SHORT}
    assert refusal(session.server.open, genuine[:-tag] + bytes(tag), NOW) is Refusal.MAC
    session.server.open(genuine, NOW)


def test_a_session_of_one_algorithm_believes_nothing_of_the_others() -> None:
    """The same two workers, the same nonces: the algorithm is in the transcript, so the keys are others too."""
    signed, sealed = (
        arena.shake(arena.dialer(terms=TERMS._replace(alg=alg)), arena.acceptor(terms=TERMS._replace(alg=alg)))
        for alg in Alg
    )
    for one, two in ((signed, sealed), (sealed, signed)):
        frame = seal(one.client, body=bytes(64))
        assert refusal(two.server.open, frame, NOW) is Refusal.ALG
        relabelled = rewritten(frame, alg=two.server._alg, sid=two.client._out_sid)
        assert not arena.accepts(two.server, relabelled)
        lengths = {"body_size": 64 + one.client._tag - two.client._tag}
        assert refusal(two.server.open, rewritten(relabelled, **lengths), NOW) is Refusal.MAC


REFUSED: list[tuple[Refusal, Callable[[bytes], bytes]]] = [
    (Refusal.SHORT, lambda frame: frame[:70]),
    (Refusal.VERSION, lambda frame: b"GET " + frame[4:]),
    (Refusal.FLAGS, lambda frame: rewritten(frame, flags=0x80)),
    (Refusal.ALG, lambda frame: rewritten(frame, alg=0)),
    (Refusal.TOO_LARGE, lambda frame: rewritten(frame, body_size=TERMS.max_payload + 1)),
    (Refusal.LENGTH, lambda frame: frame + b"\0"),
    (Refusal.KIND, lambda frame: rewritten(frame, kind=Kind.REPLY)),
    (Refusal.SESSION, lambda frame: rewritten(frame, sid=7)),
    (Refusal.EPOCH, lambda frame: rewritten(frame, epoch=TERMS.epoch + 1)),
    (Refusal.GAP, lambda frame: rewritten(frame, counter=9)),
    (Refusal.MAC, lambda frame: frame[:-1] + bytes([frame[-1] ^ 1])),
]


@pytest.mark.parametrize(("reason", "spoil"), REFUSED, ids=[reason.value for reason, _ in REFUSED])
def test_a_link_that_hears_it_ends_without_a_word_and_counts_why(
    reason: Refusal, spoil: Callable[[bytes], bytes]
) -> None:
    ends = Ends().move()
    ends.near.send(Kind.REQUEST, CALL, body=b"body")
    genuine = ends.near_wire.sent.popleft()
    said, before = len(ends.far_wire.said), refusals.copy()
    ends.far.received(spoil(genuine))
    ends.far.received(genuine)
    assert ends.far_wire.aborted
    assert len(ends.far_wire.said) == said
    assert ends.far_side.frames == []
    assert refusals - before == {reason: 1}


REFUSED_HELLOS: list[tuple[Refusal, Callable[[bytes], bytes]]] = [
    (Refusal.LENGTH, lambda hello: hello[:-1]),
    (Refusal.VERSION, lambda hello: arena.rewritten_hello(hello, version=2)),
    (Refusal.KIND, lambda hello: arena.rewritten_hello(hello, kind=Kind.FINISH)),
    (Refusal.ALG, lambda hello: arena.rewritten_hello(hello, alg=0)),
    (Refusal.EPOCH, lambda hello: arena.rewritten_hello(hello, epoch=TERMS.epoch + 1)),
    (Refusal.SESSION, lambda hello: arena.rewritten_hello(hello, server_life=bytes(16))),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, carrier=1)),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, client_role=3)),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, server_role=1)),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, max_payload=2**32 - 1)),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, ttl=2**64 - 1)),
    (Refusal.HANDSHAKE, lambda hello: arena.rewritten_hello(hello, reserved=1)),
    (Refusal.MAC, lambda hello: arena.rewritten_hello(hello, client_role=2)),
    (Refusal.MAC, lambda hello: arena.rewritten_hello(hello, nonce=bytes(32))),
    (Refusal.MAC, lambda hello: arena.rewritten_hello(hello, client_life=bytes(16))),
]


@pytest.mark.parametrize(("reason", "spoil"), REFUSED_HELLOS)
def test_a_stranger_gets_no_answer_and_its_reason_is_counted(reason: Refusal, spoil: Callable[[bytes], bytes]) -> None:
    link, side, wire = arena.stranger()
    genuine = arena.dialer().hello()
    before = refusals.copy()
    link.received(spoil(genuine))
    link.received(genuine)
    assert (side.up, wire.aborted, wire.said) == (False, True, [])
    assert refusals - before == {reason: 1}


def test_errors_say_nothing_of_what_was_refused(terms: Terms) -> None:
    session = pair(terms)
    frame = seal(session.client, body=b"secret body")
    with pytest.raises(Refuse) as refused:
        session.server.open(frame[:-1] + b"\0", NOW)
    assert str(refused.value) in {reason.value for reason in Refusal}
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
