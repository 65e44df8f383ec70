"""A session accepts what its peer said, as it was said, once; and nothing else whatsoever."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.messages.calls import FROM_EXEC, FROM_WEB, Flag, Kind
from ipc.wire.frame import HEADER, HEADER_SIZE, MAX_META, Refusal, Refuse
from ipc.wire.handshake import ROUND_TRIP_MS
from ipc.wire.keys import session_keys
from ipc.wire.replay import LAST
from ipc.wire.session import FUTURE_MS, IN_ORDER, Carrier, Session, Terms
from ipc.wire.signing import Alg

NOW = 1_000_000
CALL = bytes(range(16))
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 3, 100_000, 30_000)
FIELDS = (
    "magic version kind flags alg meta_size body_size epoch sid counter time call_id seq budget".split()  # noqa: SIM905
)


def keys(said: bytes = b"said") -> Any:
    return session_keys(bytes(range(32)), hashlib.sha256(said).digest())


def pair(terms: Terms = TERMS, said: bytes = b"said", offset: int = 0) -> tuple[Session, Session]:
    """Client, server."""
    return (
        Session(keys(said), terms, client=True, offset_ms=-offset),
        Session(keys(said), terms, client=False, offset_ms=offset),
    )


@pytest.fixture(params=Alg)
def terms(request: pytest.FixtureRequest) -> Terms:
    return TERMS._replace(alg=request.param)


def sealed(session: Session, kind: int = Kind.REQUEST, now: int = NOW, **more: Any) -> bytes:
    frame = session.seal(kind, now, **more)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return frame[4:]


def changed(frame: bytes, **fields: int | bytes) -> bytes:
    """The same frame with other fields in its header, and the old tag."""
    values = dict(zip(FIELDS, HEADER.unpack_from(frame), strict=True)) | fields
    return HEADER.pack(*values.values()) + frame[HEADER_SIZE:]


def refusal(session: Session, frame: bytes, now: int = NOW) -> Refusal:
    with pytest.raises(Refuse) as refused:
        session.open(frame, now)
    return refused.value.reason


@given(
    st.sampled_from(sorted(FROM_WEB)),
    st.binary(max_size=200),
    st.binary(max_size=1000),
    st.integers(0, 0x1F),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
)
def test_what_is_sealed_is_what_is_opened(
    kind: int, meta: bytes, body: bytes, flags: int, call_id: bytes, budget: int
) -> None:
    for alg in Alg:
        client, server = pair(TERMS._replace(alg=alg))
        for number in range(2):
            data = sealed(
                client, kind, call_id=call_id, meta=meta, body=body, flags=flags, budget_ms=budget, seq=number
            )
            frame = server.open(bytearray(data) if number else data, NOW + 1)
            assert frame == (kind, flags, call_id, number, budget, meta, body, 1)


@pytest.mark.parametrize(("later", "age"), [(-1, 0), (0, 0), (2500, 2500)])
def test_a_frame_says_how_old_it_is(terms: Terms, later: int, age: int) -> None:
    for size in (0, 100_000):
        client, server = pair(terms)
        assert server.open(sealed(client, body=bytes(size)), NOW + later).age_ms == age


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 100_000])
def test_large_bodies_are_views_of_their_frame_and_small_ones_copies(terms: Terms, size: int) -> None:
    client, server = pair(terms)
    body = bytes(itertools.islice(itertools.cycle(range(251)), size))
    frame = server.open(sealed(client, meta=b"meta", body=body), NOW)
    assert (bytes(frame.meta), bytes(frame.body)) == (b"meta", body)
    assert isinstance(frame.body, memoryview) == (size >= 65_536)


def test_both_directions_have_their_own_numbers_and_kinds(terms: Terms) -> None:
    client, server = pair(terms)
    for _ in range(3):
        assert server.open(sealed(client), NOW).kind == Kind.REQUEST
        assert client.open(sealed(server, Kind.REPLY), NOW).kind == Kind.REPLY


def test_the_kinds_of_the_directions_have_nothing_in_common() -> None:
    assert not FROM_WEB & FROM_EXEC
    assert {Kind.HELLO, Kind.ACCEPT, Kind.FINISH} == set(Kind) - FROM_WEB - FROM_EXEC


@pytest.mark.parametrize("kind", sorted(set(range(256)) - FROM_WEB))
def test_a_kind_that_the_peer_must_not_say_is_refused_though_it_sealed_it(kind: int) -> None:
    client, server = pair()
    assert refusal(server, sealed(client, kind)) is Refusal.KIND


def test_every_single_bit_counts(terms: Terms) -> None:
    """None is accepted, nothing is used up by trying, and the genuine one still is, once."""
    client, server = pair(terms)
    frame = sealed(client, call_id=CALL, meta=b"\x90", body=b"body", flags=8, budget_ms=77)
    for bit in range(8 * len(frame)):
        spoiled = bytearray(frame)
        spoiled[bit // 8] ^= 1 << bit % 8
        refusal(server, bytes(spoiled))
    for size in range(len(frame)):
        refusal(server, frame[:size])
    for more in (b"\x00", b"more", frame):
        assert refusal(server, frame + more) is Refusal.LENGTH
    assert server.open(frame, NOW).body == b"body"
    assert refusal(server, frame) is Refusal.REPLAY


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"magic": b"GE"}, Refusal.VERSION),
        ({"version": 2}, Refusal.VERSION),
        ({"flags": 0x20}, Refusal.FLAGS),
        ({"alg": 0}, Refusal.ALG),
        ({"alg": 2}, Refusal.ALG),
        ({"alg": 255}, Refusal.ALG),
        ({"meta_size": MAX_META + 1}, Refusal.TOO_LARGE),
        ({"body_size": 100_001}, Refusal.TOO_LARGE),
        ({"body_size": 2**32 - 1}, Refusal.TOO_LARGE),
        ({"meta_size": 2}, Refusal.LENGTH),
        ({"body_size": 5}, Refusal.LENGTH),
        ({"kind": Kind.REPLY}, Refusal.KIND),
        ({"sid": 0}, Refusal.SESSION),
        ({"epoch": 2}, Refusal.EPOCH),
        ({"epoch": 4}, Refusal.EPOCH),
        ({"counter": 2}, Refusal.GAP),
        ({"counter": LAST}, Refusal.GAP),
        ({"counter": 0}, Refusal.REPLAY),
        ({"meta_size": 0, "body_size": 5}, Refusal.MAC),
        ({"kind": Kind.CANCEL}, Refusal.MAC),
        ({"call_id": bytes(16)}, Refusal.MAC),
        ({"seq": 9}, Refusal.MAC),
        ({"budget": 1}, Refusal.MAC),
        ({"flags": 16}, Refusal.MAC),
        ({"time": NOW + 1}, Refusal.MAC),
        ({"time": 0}, Refusal.MAC),
    ],
)
def test_each_field_is_refused_for_its_own_reason(fields: dict[str, Any], reason: Refusal) -> None:
    client, server = pair()
    server.open(sealed(client), NOW)
    frame = sealed(client, call_id=CALL, meta=b"\x90", body=b"body")
    assert refusal(server, changed(frame, **fields)) is reason
    assert server.open(frame, NOW).body == b"body"


ORDER: list[dict[str, Any]] = [
    {"version": 9},
    {"flags": 0xE0},
    {"alg": 9},
    {"body_size": 100_001},
    {"body_size": 7},
    {"kind": 99},
    {"sid": 1},
    {"epoch": 9},
    {"counter": 9},
    {"time": 0},
]
REASONS = [
    Refusal.VERSION,
    Refusal.FLAGS,
    Refusal.ALG,
    Refusal.TOO_LARGE,
    Refusal.LENGTH,
    Refusal.KIND,
    Refusal.SESSION,
    Refusal.EPOCH,
    Refusal.GAP,
    Refusal.MAC,
]


@given(st.sets(st.integers(0, len(ORDER) - 1), min_size=1))
def test_of_many_faults_the_cheapest_to_see_is_the_one_that_counts(faults: set[int]) -> None:
    client, server = pair()
    frame = sealed(client, body=b"body")
    fields: dict[str, Any] = {}
    for fault in sorted(faults, reverse=True):
        fields |= ORDER[fault]
    assert refusal(server, changed(frame, **fields)) is REASONS[min(faults)]
    server.open(frame, NOW)


def test_a_forged_tag_burns_no_number(terms: Terms) -> None:
    client, server = pair(terms)
    frames = [sealed(client) for _ in range(5)]
    for number in range(5):
        forged = changed(frames[0], counter=number)[:-4] + b"\x00\x00\x00\x00"
        refusal(server, forged)
    for frame in frames:
        server.open(frame, NOW)


@pytest.mark.parametrize(
    "other",
    [
        TERMS._replace(epoch=4),
        TERMS._replace(alg=Alg.AES_256_GCM),
    ],
)
def test_frames_of_other_terms_are_refused(other: Terms) -> None:
    client, _ = pair(other)
    _, server = pair()
    refusal(server, sealed(client))


def test_frames_of_another_session_are_refused_also_with_a_rewritten_sid(terms: Terms) -> None:
    _, server = pair(terms)
    stranger, _ = pair(terms, said=b"another session")
    frame = sealed(stranger)
    assert refusal(server, frame) is Refusal.SESSION
    assert refusal(server, changed(frame, sid=keys().client_to_server.sid)) is Refusal.MAC


def test_a_frame_sent_back_is_refused_at_every_step(terms: Terms) -> None:
    client, _ = pair(terms)
    frame = sealed(client)
    assert refusal(client, frame) is Refusal.KIND
    assert refusal(client, changed(frame, kind=Kind.REPLY)) is Refusal.SESSION
    sid = keys().server_to_client.sid
    assert refusal(client, changed(frame, kind=Kind.REPLY, sid=sid)) is Refusal.MAC


@pytest.mark.parametrize("offset", [0, 5_000_000, -900_000])
def test_age_is_measured_on_one_clock(terms: Terms, offset: int) -> None:
    """`offset` is the server's clock minus the client's."""
    client, server = pair(terms, offset=offset)
    ages = [0, TERMS.ttl_ms, -FUTURE_MS]
    for age in ages:
        server.open(sealed(client, now=NOW), NOW + offset + age)
    assert refusal(server, sealed(client, now=NOW), NOW + offset + TERMS.ttl_ms + 1) is Refusal.EXPIRED
    assert refusal(server, sealed(client, now=NOW), NOW + offset - FUTURE_MS - 1) is Refusal.FUTURE
    client.open(sealed(server, Kind.REPLY, now=NOW + offset), NOW)


def test_an_offset_as_wrong_as_a_handshake_allows_refuses_nobody() -> None:
    assert FUTURE_MS > ROUND_TRIP_MS


def test_what_is_over_a_bound_is_not_sealed_and_uses_no_number(terms: Terms) -> None:
    client, server = pair(terms)
    for meta, body in ((bytes(MAX_META + 1), b""), (b"", bytes(100_001))):
        with pytest.raises(Refuse) as refused:
            client.seal(Kind.REQUEST, NOW, meta=meta, body=body)
        assert refused.value.reason is Refusal.TOO_LARGE
    for wrong in ({"kind": 256}, {"flags": -1}, {"budget_ms": 2**32}, {"seq": -1}):
        with pytest.raises(Exception, match=r"."):
            client.seal(**({"kind": Kind.REQUEST, "now_ms": NOW} | wrong))
    server.open(sealed(client, meta=bytes(MAX_META), body=bytes(100_000)), NOW)


def test_the_last_number_is_used_and_none_after_it(terms: Terms) -> None:
    client, server = pair(terms)
    client._out_counter = LAST - 1
    server._window.commit(LAST - 2)
    server.open(sealed(client), NOW)
    with pytest.raises(Refuse) as refused:
        client.seal(Kind.REQUEST, NOW)
    assert refused.value.reason is Refusal.EXHAUSTED


def test_hmac_and_aead_say_the_same(terms: Terms) -> None:
    """Whatever one refuses the other does, for the same reason: the mode changes secrecy and nothing else."""
    frames = {}
    for alg in Alg:
        client, server = pair(TERMS._replace(alg=alg))
        first = sealed(client, body=b"body")
        reasons = []
        for bad in (
            first[:40],
            changed(first, version=0),
            changed(first, flags=0x40),
            changed(first, alg=3),
            changed(first, body_size=0),
            changed(first, counter=1),
            changed(first, call_id=CALL),
            first[:-1] + bytes([first[-1] ^ 1]),
        ):
            reasons.append(refusal(server, bad))  # noqa: PERF401 - one server sees them all
        server.open(first, NOW)
        reasons.append(refusal(server, first))
        frames[alg] = reasons
    assert frames[Alg.HMAC_SHA256] == frames[Alg.AES_256_GCM]


class Attacker:
    """Owns the way between two ends: drops, repeats, reorders, bends and splices whatever was ever sent."""

    def __init__(self, alg: Alg) -> None:
        self.client, self.server = pair(TERMS._replace(alg=alg))
        self.sent: list[bytes] = []
        self.accepted: list[int] = []

    def deliver(self, frame: bytes) -> None:
        try:
            opened = self.server.open(frame, NOW)
        except Refuse:
            return
        number = int.from_bytes(opened.call_id, "big")
        assert opened.body == b"body %d" % number
        self.accepted.append(number)

    def send(self) -> None:
        number = len(self.sent)
        self.sent.append(sealed(self.client, call_id=number.to_bytes(16, "big"), body=b"body %d" % number))

    def old(self, index: int) -> bytes:
        return self.sent[index % len(self.sent)] if self.sent else b""


MOVES = st.one_of(
    st.just(("send",)),
    st.tuples(st.just("deliver"), st.integers(0, 5)),
    st.tuples(st.just("newest")),
    st.tuples(st.just("bend"), st.integers(0, 5), st.integers(0, 900)),
    st.tuples(st.just("splice"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 110)),
    st.tuples(st.just("renumber"), st.integers(0, 5), st.integers(0, 6)),
    st.tuples(st.just("mirror"), st.integers(0, 5)),
)


@given(st.sampled_from(Alg), st.lists(MOVES, max_size=40))
def test_whatever_an_attacker_does_each_frame_is_accepted_once_in_order_or_never(
    alg: Alg, moves: list[tuple[Any, ...]]
) -> None:
    attacker = Attacker(alg)
    for what, *args in moves:
        if what == "send":
            attacker.send()
        elif what == "deliver":
            attacker.deliver(attacker.old(args[0]))
        elif what == "newest":
            attacker.deliver(attacker.old(-1))
        elif what == "bend" and attacker.sent:
            frame = bytearray(attacker.old(args[0]))
            frame[args[1] // 8 % len(frame)] ^= 1 << args[1] % 8
            attacker.deliver(bytes(frame))
        elif what == "splice" and attacker.sent:
            one, two = attacker.old(args[0]), attacker.old(args[1])
            attacker.deliver(one[: args[2]] + two[args[2] :])
        elif what == "renumber" and attacker.sent:
            attacker.deliver(changed(attacker.old(args[0]), counter=args[1]))
        elif what == "mirror" and attacker.sent:
            with pytest.raises(Refuse):
                attacker.client.open(attacker.old(args[0]), NOW)
    assert attacker.accepted == list(range(len(attacker.accepted)))


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 100_000])
def test_the_parts_of_a_frame_are_the_frame(terms: Terms, size: int) -> None:
    body = bytes(size)
    whole, parts = pair(terms)[0].seal(Kind.REQUEST, NOW, body=body), pair(terms)[0].parts(Kind.REQUEST, NOW, body=body)
    assert b"".join(parts) == whole
    if terms.alg is Alg.HMAC_SHA256:
        assert any(part is body for part in parts)  # not a copy


def test_every_flag_passes() -> None:
    client, server = pair()
    for flag in Flag:
        assert server.open(sealed(client, flags=flag), NOW).flags == flag


@pytest.fixture
def loose(terms: Terms) -> Terms:
    """A carrier that may reorder what it carries."""
    return terms._replace(carrier="redis", window=64)


@given(st.sampled_from(Alg), st.permutations(range(40)))
def test_where_no_order_is_kept_each_frame_is_accepted_once_whenever_it_comes(alg: Alg, order: list[int]) -> None:
    client, server = pair(TERMS._replace(alg=alg, carrier="redis", window=64))
    frames = [sealed(client, body=b"%d" % number) for number in order]
    for number in sorted(range(40), key=order.__getitem__):
        assert server.open(frames[number], NOW).body == b"%d" % order[number]
        assert refusal(server, frames[number]) is Refusal.REPLAY


def test_a_frame_too_far_behind_is_refused_where_no_order_is_kept(loose: Terms) -> None:
    client, server = pair(loose)
    frames = [sealed(client) for _ in range(70)]
    server.open(frames[65], NOW)
    assert refusal(server, frames[0]) is Refusal.TOO_OLD
    server.open(frames[1], NOW)
    server.open(frames[69], NOW)
    assert refusal(server, frames[4]) is Refusal.TOO_OLD
    server.open(frames[5], NOW)


def test_a_forged_number_does_not_move_the_window(loose: Terms) -> None:
    """Or whoever writes to the carrier could shut the true sender out."""
    client, server = pair(loose)
    first, second = sealed(client), sealed(client)
    for counter in (1, 1000, LAST - 1):
        assert refusal(server, changed(first, counter=counter)) is Refusal.MAC
    server.open(second, NOW)
    server.open(first, NOW)


def test_the_carrier_alone_says_how_strict_a_session_is(terms: Terms) -> None:
    assert set(Carrier) - IN_ORDER == {Carrier.REDIS}
    for carrier in IN_ORDER:
        client, server = pair(terms._replace(carrier=carrier.name.lower(), window=1_000_000))
        sealed(client)
        assert refusal(server, sealed(client)) is Refusal.GAP
    for wrong in (0, -1, 63):
        with pytest.raises(ValueError, match="at least 64"):
            pair(terms._replace(carrier="redis", window=wrong))
    with pytest.raises(KeyError):
        pair(terms._replace(carrier=""))
