"""Two workers prove who they are; nobody else can, and no message of it is worth anything a second time."""

from __future__ import annotations

import itertools

import pytest

from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.wire.frame import Refusal, Refuse, Stale
from ipc.wire.handshake import (
    ACCEPT_SIZE,
    FINISH_SIZE,
    HELLO_SIZE,
    MAX_HANDSHAKE,
    ROUND_TRIP_MS,
    Acceptor,
    Dialer,
)
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Session, Terms
from ipc.wire.signing import Alg

ROOT = bytes(range(32))
WEB, EXEC = WorkerName("web", 0, 3), WorkerName("cpu", 1, 7)
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 0, 1_048_576, 30_000)
FAR = TERMS._replace(carrier="redis")
"""Between hosts clocks differ, and are compared."""
NOW = 1_000_000


def secret(name: WorkerName = EXEC, epoch: int = 0) -> bytes:
    return server_secret(root_for_epoch(ROOT, epoch), name)


def dialer(
    me: WorkerName = WEB, peer: WorkerName = EXEC, terms: Terms = TERMS, leaf: bytes | None = None, nonce: int = 1
) -> Dialer:
    leaf = leaf or leaf_key(secret(peer, terms.epoch), me)
    return Dialer(me, peer, leaf, terms, bytes([nonce]) * 32, NOW)


def acceptor(me: WorkerName = EXEC, terms: Terms = TERMS, key: bytes | None = None, nonce: int = 2) -> Acceptor:
    return Acceptor(me, {terms.epoch: key or secret(me, terms.epoch)}, terms, bytes([nonce]) * 32)


def shake(client: Dialer, server: Acceptor) -> tuple[Session, Session]:
    finish, session = client.accept(server.hello(client.hello(), NOW), NOW)
    return session, server.finish(finish, NOW)


@pytest.mark.parametrize(("carrier", "alg"), list(itertools.product(["memory", "tcp_local", "unix", "redis"], Alg)))
def test_both_ends_come_to_the_same_session(carrier: str, alg: Alg) -> None:
    terms = TERMS._replace(carrier=carrier, alg=alg)
    server = acceptor(terms=terms)
    client_session, server_session = shake(dialer(terms=terms), server)
    assert server.client == WEB.wire_id + WEB.wire_incarnation
    frame = client_session.seal(Kind.REQUEST, NOW, body=b"body")[4:]
    assert server_session.open(frame, NOW).body == b"body"
    frame = server_session.seal(Kind.REPLY, NOW, body=b"answer")[4:]
    assert client_session.open(frame, NOW).body == b"answer"


def test_sizes_are_fixed_and_within_the_bound() -> None:
    client, server = dialer(), acceptor()
    hello = client.hello()
    accept = server.hello(hello, NOW)
    finish, _ = client.accept(accept, NOW)
    assert (len(hello), len(accept), len(finish)) == (HELLO_SIZE, ACCEPT_SIZE, FINISH_SIZE)
    assert max(HELLO_SIZE, ACCEPT_SIZE, FINISH_SIZE) <= MAX_HANDSHAKE


def test_every_bit_of_every_message_counts() -> None:
    client = dialer()
    hello = client.hello()
    server = acceptor()
    accept = server.hello(hello, NOW)
    finish, _ = client.accept(accept, NOW)
    for message, check in (
        (hello, lambda bent: acceptor().hello(bent, NOW)),
        (accept, lambda bent: client.accept(bent, NOW)),
        (finish, lambda bent: server.finish(bent, NOW)),
    ):
        for bit in range(8 * len(message)):
            bent = bytearray(message)
            bent[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Refuse):
                check(bytes(bent))
        for wrong in (b"", message[:-1], message + b"\x00", bytes(len(message))):
            with pytest.raises(Refuse):
                check(wrong)
    server.finish(finish, NOW)


@pytest.mark.parametrize(
    ("client", "server", "reason"),
    [
        (dialer(terms=TERMS._replace(alg=Alg.AES_256_GCM)), acceptor(), Refusal.ALG),
        (dialer(terms=TERMS._replace(epoch=1)), acceptor(), Refusal.EPOCH),
        (dialer(), acceptor(terms=TERMS._replace(epoch=1)), Refusal.EPOCH),
        (dialer(terms=TERMS._replace(max_payload=1)), acceptor(), Refusal.HANDSHAKE),
        (dialer(terms=TERMS._replace(ttl_ms=2**40)), acceptor(), Refusal.HANDSHAKE),
        (dialer(terms=TERMS._replace(carrier="memory")), acceptor(), Refusal.HANDSHAKE),
        (dialer(peer=EXEC._replace(incarnation=8)), acceptor(), Refusal.SESSION),
        (dialer(peer=EXEC._replace(slot=0)), acceptor(), Refusal.SESSION),
        (dialer(leaf=bytes(32)), acceptor(), Refusal.MAC),
        (dialer(leaf=leaf_key(secret(), WEB._replace(incarnation=4))), acceptor(), Refusal.MAC),
        (dialer(leaf=leaf_key(secret(EXEC._replace(incarnation=6)), WEB)), acceptor(), Refusal.MAC),
        (dialer(leaf=leaf_key(secret(epoch=1), WEB)), acceptor(), Refusal.MAC),
        (dialer(), acceptor(key=bytes(32)), Refusal.MAC),
    ],
)
def test_a_hello_that_is_not_for_us_is_refused(client: Dialer, server: Acceptor, reason: Refusal) -> None:
    with pytest.raises(Refuse) as refused:
        server.hello(client.hello(), NOW)
    assert refused.value.reason is reason
    assert server.client == b""


def test_only_the_diagonal_of_all_pairs_passes() -> None:
    webs = [WEB, WEB._replace(incarnation=4), WEB._replace(slot=1)]
    execs = [EXEC, EXEC._replace(incarnation=8), EXEC._replace(group="gpu")]
    passed = []
    for claims, holds, wants, key_of, asked in itertools.product(webs, webs, execs, execs, execs):
        client = Dialer(claims, wants, leaf_key(secret(key_of), holds), TERMS, bytes(32), NOW)
        try:
            shake(client, acceptor(asked))
        except Refuse:
            continue
        passed.append((claims, holds, wants, key_of, asked))
    assert passed == [(web, web, each, each, each) for web in webs for each in execs]


def test_a_recorded_hello_is_worth_nothing() -> None:
    client, first, second = dialer(), acceptor(nonce=2), acceptor(nonce=3)
    hello = client.hello()
    finish, session = client.accept(first.hello(hello, NOW), NOW)
    first.finish(finish, NOW)
    second.hello(hello, NOW)  # it is authentic; but
    with pytest.raises(Refuse):
        second.finish(finish, NOW)
    frame = session.seal(Kind.REQUEST, NOW)
    other = dialer(nonce=9)
    third = acceptor(nonce=4)
    _, stranger = shake(other, third)
    with pytest.raises(Refuse):
        stranger.open(frame[4:], NOW)


def test_a_recorded_accept_is_worth_nothing() -> None:
    first, second = dialer(nonce=1), dialer(nonce=5)
    accept = acceptor().hello(first.hello(), NOW)
    with pytest.raises(Refuse) as refused:
        second.accept(accept, NOW)
    assert refused.value.reason is Refusal.MAC


def test_one_sides_proof_is_not_the_others() -> None:
    """A message that is sent back to its sender proves nothing."""
    client, server = dialer(), acceptor()
    hello = client.hello()
    accept = server.hello(hello, NOW)
    for message in (hello, accept[: ACCEPT_SIZE - 32] + hello[-32:]):
        with pytest.raises(Refuse):
            client.accept(message, NOW)
    finish, _ = client.accept(accept, NOW)
    forged = finish[: FINISH_SIZE - 32] + accept[-32:]
    with pytest.raises(Refuse):
        server.finish(forged, NOW)


def test_finish_comes_after_hello() -> None:
    client, server = dialer(), acceptor()
    finish, _ = client.accept(server.hello(client.hello(), NOW), NOW)
    with pytest.raises(Refuse) as refused:
        acceptor().finish(finish, NOW)
    assert refused.value.reason is Refusal.HANDSHAKE


def test_between_hosts_who_takes_too_long_is_refused_by_either() -> None:
    client, server = dialer(terms=FAR), acceptor(terms=FAR)
    accept = server.hello(client.hello(), NOW)
    with pytest.raises(Refuse) as refused:
        client.accept(accept, NOW + ROUND_TRIP_MS + 1)
    assert refused.value.reason is Refusal.TIMEOUT
    finish, _ = client.accept(accept, NOW + ROUND_TRIP_MS)
    with pytest.raises(Refuse) as refused:
        server.finish(finish, NOW + ROUND_TRIP_MS + 1)
    assert refused.value.reason is Refusal.TIMEOUT
    server.finish(finish, NOW + ROUND_TRIP_MS)


@pytest.mark.parametrize("carrier", ["memory", "tcp_local", "unix"])
def test_on_one_host_nobody_is_too_slow_and_no_frame_looks_younger_for_it(carrier: str) -> None:
    terms = TERMS._replace(carrier=carrier)
    client, server = dialer(terms=terms), acceptor(terms=terms)
    accept = server.hello(client.hello(), NOW + 100_000)
    finish, client_session = client.accept(accept, NOW + 100_000)
    server_session = server.finish(finish, NOW + 200_000)
    frame = client_session.seal(Kind.REQUEST, NOW + 200_000)[4:]
    server_session.open(frame, NOW + 200_000 + TERMS.ttl_ms)
    frame = client_session.seal(Kind.REQUEST, NOW + 200_000)[4:]
    with pytest.raises(Stale):
        server_session.open(frame, NOW + 200_001 + TERMS.ttl_ms)
    client_session.open(server_session.seal(Kind.REPLY, NOW + 200_000)[4:], NOW + 200_000)


@pytest.mark.parametrize("theirs", [0, 7_000_000, 500])
def test_between_hosts_clocks_need_not_agree(theirs: int) -> None:
    client, server = dialer(terms=FAR), acceptor(terms=FAR)
    accept = server.hello(client.hello(), theirs)
    finish, client_session = client.accept(accept, NOW + 10)
    server_session = server.finish(finish, theirs + 10)
    server_session.open(client_session.seal(Kind.REQUEST, NOW + 25_000)[4:], theirs + 25_000)
    client_session.open(server_session.seal(Kind.REPLY, theirs + 25_000)[4:], NOW + 25_000)


def test_nonces_of_both_sides_make_the_session() -> None:
    def first_frame(client_nonce: int, server_nonce: int) -> bytes:
        session, _ = shake(dialer(nonce=client_nonce), acceptor(nonce=server_nonce))
        return session.seal(Kind.REQUEST, NOW)

    frames = {first_frame(*nonces) for nonces in itertools.product([1, 2], [3, 4])}
    assert len(frames) == 4
    assert first_frame(1, 3) == first_frame(1, 3)
