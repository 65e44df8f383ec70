"""What a compromised worker's keys are good for: to speak as itself, and to nobody else's name.

The attacker is code inside one worker. It has everything that worker holds, knows every name, id and number there is,
and derives whatever can be derived.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import arena
import pytest
from arena import EXEC, NOW, OTHER_EXEC, OTHER_WEB, TERMS, WEB, pair, refusal, rewritten, seal

from ipc.messages.calls import FROM_EXEC, FROM_WEB, Kind
from ipc.wire.keys import client_key, expand, extract, leaf_key, lp, root_for_epoch, session_keys
from ipc.wire.session import Session
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from ipc.names import WorkerName

WEBS = [WEB, OTHER_WEB, WEB._replace(incarnation=4)]
OTHERS = [OTHER_EXEC, EXEC._replace(incarnation=EXEC.incarnation + 1), EXEC._replace(incarnation=EXEC.incarnation - 1)]
HELD = arena.secret_of(EXEC)
"""All that the exec worker `EXEC` was given."""


def derived(secrets: list[bytes]) -> set[bytes]:
    """Every key that the protocol's own derivations make of these, two steps deep."""
    names = [*WEBS, EXEC, *OTHERS]
    labels = [b"hello", b"announce", b"confirm|c", b"confirm|s", b"key|c2s", b"key|s2c"]
    labels += [lp(b"client", b"web", name.wire_id, name.wire_incarnation) for name in names]
    labels += [lp(b"client", b"exec", name.wire_id, name.wire_incarnation) for name in names]
    labels += [lp(b"server", b"exec", name.wire_id, name.wire_incarnation) for name in names]
    salts = [b"envelope/1/epoch/" + epoch.to_bytes(4, "big") for epoch in range(TERMS.epoch + 2)]
    found = set(secrets)
    for _ in range(2):
        found |= {expand(key, label) for key in found for label in labels} | {
            extract(salt, key) for key in found for salt in salts
        }
    return found


def test_nothing_that_follows_from_a_servers_secret_is_anybody_elses_key() -> None:
    keys = derived([HELD])
    own = {arena.leaf_of(web, EXEC) for web in WEBS} | {leaf_key(HELD, other, "exec") for other in OTHERS}
    foreign = {arena.ROOT} | {root_for_epoch(arena.ROOT, epoch) for epoch in range(6)}
    foreign |= {arena.secret_of(server, epoch) for server in OTHERS for epoch in range(6)}
    foreign |= {arena.secret_of(EXEC, epoch) for epoch in range(6) if epoch != TERMS.epoch}
    foreign |= {arena.leaf_of(web, server, epoch) for web in WEBS for server in OTHERS for epoch in range(6)}
    foreign |= {leaf_key(arena.secret_of(server), EXEC, role) for server in OTHERS for role in ("web", "exec")}
    foreign |= {arena.leaf_of(web, EXEC, epoch) for web in WEBS for epoch in range(6) if epoch != TERMS.epoch}
    assert own <= keys
    assert not keys & foreign


def test_nothing_that_follows_from_a_clients_leaf_is_anybody_elses_key() -> None:
    keys = derived([arena.leaf_of(WEB, EXEC), arena.leaf_of(WEB, OTHER_EXEC)])
    assert not keys & {arena.leaf_of(web, server) for web in WEBS[1:] for server in (EXEC, *OTHERS)}
    assert not keys & {arena.secret_of(server) for server in (EXEC, *OTHERS)}


def test_its_secret_lets_it_speak_to_itself_as_anybody_and_to_nobody_else() -> None:
    leaves = {web: client_key(HELD, web.wire_id, web.wire_incarnation) for web in WEBS}
    answered = [
        (server, web)
        for server, (web, leaf) in itertools.product([EXEC, *OTHERS], leaves.items())
        for key in (leaf, HELD)
        if refusal(arena.acceptor(server).hello, arena.dialer(web, server, leaf=key).hello(), NOW) is None
    ]
    assert answered == [(EXEC, web) for web in WEBS]


@pytest.mark.parametrize("posed", OTHERS, ids=str)
def test_a_web_worker_that_dials_another_is_not_convinced(posed: WorkerName) -> None:
    """It answers in the place of its neighbour, its predecessor or its successor."""
    for web in WEBS:
        near = arena.dialer(web, posed)
        hello = near.hello()
        assert refusal(arena.acceptor(posed, secret=HELD).hello, hello, NOW) is not None
        forged = arena.dialer(web, posed, leaf=client_key(HELD, web.wire_id, web.wire_incarnation)).hello()
        accept = arena.acceptor(posed, secret=HELD).hello(forged, NOW)  # as if the client had had its key
        assert refusal(near.accept, accept, NOW) is not None


@pytest.mark.parametrize("alg", Alg)
def test_no_frame_it_can_build_is_believed_in_a_session_of_others(alg: Alg) -> None:
    """The attacker has seen the whole handshake: both nonces, so the transcript, so every id."""
    terms = TERMS._replace(alg=alg)
    near, far = arena.dialer(WEB, OTHER_EXEC, terms), arena.acceptor(OTHER_EXEC, terms)
    honest = arena.shake(near, far)
    transcript = far._waiting[1]
    believed = []
    for key in sorted(derived([HELD])):
        keys = session_keys(key, transcript)
        for end, kinds, client in ((honest.server, FROM_WEB, True), (honest.client, FROM_EXEC, False)):
            forger = Session(keys, terms, client=client, offset_ms=0)
            frame = rewritten(seal(forger, min(kinds)), sid=end._in_sid)
            if arena.accepts(end, frame):
                believed.append(key)
    assert believed == []
    assert arena.accepts(honest.server, seal(honest.client))
    assert arena.accepts(honest.client, seal(honest.server, Kind.READY))


def test_in_its_own_sessions_it_may_say_what_an_exec_worker_says_and_nothing_more() -> None:
    for kind in range(256):
        own = pair(client=WEB, server=EXEC)
        assert arena.accepts(own.client, seal(own.server, kind)) == (kind in FROM_EXEC)
