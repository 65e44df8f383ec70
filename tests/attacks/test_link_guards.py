"""Each guard of the link is missed: with it an attack fails, without it the same attack succeeds.

Where one guard stands behind another, the ones before it are off in both halves of the experiment.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import arena
import pytest
from arena import CALL, EXEC, NOW, OTHER_EXEC, OTHER_WEB, TERMS, WEB, Ends, Side, Wire, pair, rewritten, seal
from guards import DECODING, GUARDS, NoSuchWords, describe, switched_off

from exec_worker.engine import Engine
from exec_worker.rows import Rows, _check_reply_to
from ipc import responder as responder_module
from ipc.caller import Caller
from ipc.errors import Misuse
from ipc.flow.track import Standing, Track
from ipc.link import Link, accepting, dialling, refusals
from ipc.log import Log
from ipc.messages.calls import Kind, ReplyMeta, RequestMeta, Stage, encode_meta
from ipc.messages.lifeline import Peer, Peers
from ipc.messages.settings import Limits, LogSettings
from ipc.names import WorkerName
from ipc.pipeline import Leg
from ipc.responder import MAX_HALF_OPEN, MAX_LINKS_OF_ONE, Responder
from ipc.transport.stream import StreamCarrier
from ipc.transport.unix import _is_ours
from ipc.wire.frame import MAX_META, Refuse
from ipc.wire.framing import Deframer
from ipc.wire.handshake import ROUND_TRIP_MS, Acceptor
from ipc.wire.keys import leaf_key, root_for_epoch
from ipc.wire.replay import LAST, LEAST_WINDOW
from ipc.wire.session import FUTURE_MS
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.session import Terms

REORDERING = TERMS._replace(carrier="redis")
GCM = TERMS._replace(alg=Alg.AES_256_GCM)


# -- attacks on a session. Each returns whether it succeeded.


def forge(terms: Terms) -> Callable[[], bool]:
    """Another body under the tag of the old one."""

    def attack() -> bool:
        session = pair(terms)
        frame = seal(session.client, body=b"pay 1")
        return arena.accepts(session.server, frame[:64] + b"pay 9" + frame[69:])

    return attack


def change(**fields: int | bytes) -> Callable[[], bool]:
    """A header with other fields."""

    def attack() -> bool:
        session = pair()
        return arena.accepts(session.server, rewritten(seal(session.client, body=b"body"), **fields))

    return attack


def say(**more: Any) -> Callable[[], bool]:
    """Something that an authentic peer must not say."""

    def attack() -> bool:
        session = pair()
        return arena.accepts(session.server, seal(session.client, **more))

    return attack


def say_too_much() -> bool:
    """A body larger than was agreed, of a peer that does not hold itself to it."""
    session = pair()
    session.client._max_payload = 1 << 20
    return arena.accepts(session.server, seal(session.client, body=bytes(TERMS.max_payload + 1)))


def extend() -> bool:
    session = pair()
    return arena.accepts(session.server, seal(session.client) + b"and more")


def cut_to_nothing() -> bool:
    """Fewer bytes than a header has, which must be refused and not fallen over."""
    try:
        arena.accepts(pair().server, b"\xe5\x4e")
    except Refuse:
        return False
    except Exception:  # noqa: BLE001 - to fall over in any way is what the attacker wants
        return True
    return False


def replay() -> bool:
    session = pair()
    frame = seal(session.client)
    return arena.accepts(session.server, frame) and arena.accepts(session.server, frame)


def replay_to_itself_later() -> bool:
    """Numbers that stand still are an IV that comes twice."""
    session = pair(GCM)
    one, two = seal(session.client, body=b"one"), seal(session.client, body=b"two")
    return arena.fields_of(one)["counter"] == arena.fields_of(two)["counter"]


def burn() -> bool:
    """Use up the number of a frame that has not come yet."""
    session = pair()
    frame = seal(session.client)
    arena.accepts(session.server, frame[:-1] + bytes([frame[-1] ^ 1]))
    return not arena.accepts(session.server, frame)


def leave_out() -> bool:
    session = pair()
    seal(session.client)
    return arena.accepts(session.server, seal(session.client))


def replay_where_order_is_not_kept() -> bool:
    session = pair(REORDERING)
    frame = seal(session.client)
    return arena.accepts(session.server, frame) and arena.accepts(session.server, frame)


def replay_from_behind_the_window() -> bool:
    """So old that its bit is another's by now."""
    session = pair(REORDERING)
    frames = [seal(session.client) for _ in range(3 * LEAST_WINDOW)]
    session.server.open(frames[0], NOW)
    session.server.open(frames[-1], NOW)
    return arena.accepts(session.server, frames[0])


def seal_after_a_fork() -> bool:
    """What runs in a forked child when it begins."""
    session = pair()
    session.client.wipe()
    try:
        return arena.accepts(session.server, seal(session.client))
    except Misuse:
        return False


def hold_back() -> bool:
    session = pair()
    return arena.acts_on(session.server, seal(session.client), NOW + TERMS.ttl_ms + 1)


def date_ahead() -> bool:
    """A frame that will not become too old for a long time."""
    session = pair()
    return arena.acts_on(session.server, seal(session.client, now=NOW + FUTURE_MS + 1))


def reflect() -> bool:
    session = pair()
    return arena.accepts(session.client, seal(session.client))


def reflect_as_answer() -> bool:
    """A session's own frame comes back; that it is of the wrong kind is a guard of its own."""
    session = pair(TERMS)
    frame = seal(session.client)
    return arena.accepts(session.client, rewritten(frame, sid=session.client._in_sid))


def move_to_another_session() -> bool:
    one, two = pair(), pair()
    return arena.accepts(two.server, seal(one.client))


def move_to_another_epoch() -> bool:
    old = pair(TERMS._replace(epoch=TERMS.epoch - 1))
    return arena.accepts(pair().server, seal(old.client))


# -- attacks on keys


def no_secret() -> bool:
    try:
        root_for_epoch(b"", 0)
    except ValueError:
        return False
    return True


def same_key_next_epoch() -> bool:
    return arena.secret_of(epoch=1) == arena.secret_of(epoch=2)


def pose_as_another_client() -> bool:
    """A web worker's leaf, and the name of its neighbour."""
    return establishes(arena.dialer(OTHER_WEB, leaf=arena.leaf_of(WEB)), arena.acceptor())


def pose_as_another_server() -> bool:
    """An exec worker that answers for its neighbour, with its own secret."""
    return establishes(arena.dialer(), arena.acceptor(EXEC, secret=arena.secret_of(OTHER_EXEC)))


def establishes(near: Any, far: Any, between: Callable[[bytes], bytes] = bytes) -> bool:
    """Whether both come to a session; `between` is what becomes of HELLO on its way."""
    try:
        finish, _ = near.accept(far.hello(between(near.hello()), NOW), NOW)
        far.finish(finish, NOW)
    except Refuse:
        return False
    return True


# -- attacks on the handshake


def strangers_hello() -> bool:
    """Anybody is answered."""
    return arena.refusal(arena.acceptor().hello, arena.dialer(leaf=bytes(32)).hello(), NOW) is None


def false_server() -> bool:
    """Somebody who has no secret answers the client."""
    accept = arena.acceptor(secret=bytes(32))
    with switched_off("hello proof"):
        answer = accept.hello((near := arena.dialer()).hello(), NOW)
    return arena.refusal(near.accept, answer, NOW) is None


def recorded_hello_and_any_finish() -> bool:
    """HELLO is authentic, only that somebody else sends it; FINISH is invented."""
    near, far = arena.dialer(), arena.acceptor()
    finish, _ = near.accept(far.hello(near.hello(), NOW), NOW)
    again = arena.acceptor(nonce=bytes([9]) * 32)
    again.hello(near.hello(), NOW)
    return arena.refusal(again.finish, finish[:-1] + bytes([finish[-1] ^ 1]), NOW) is None


def echo_the_proof() -> bool:
    """Answer the server with its own proof, moved to the other message.

    The bytes that are proved differ, so what is compared is the key.
    """
    near, far = arena.dialer(), arena.acceptor()
    near.accept(far.hello(near.hello(), NOW), NOW)
    from ipc.wire.keys import session_keys

    keys = session_keys(bytes(32), bytes(32))
    return keys.confirm_client == keys.confirm_server


def answered(**terms: Any) -> Callable[[], bool]:
    """A HELLO under other terms, proved with the right leaf, gets an answer."""

    def attack() -> bool:
        near = arena.dialer(terms=TERMS._replace(**terms), leaf=arena.leaf_of())
        return arena.refusal(arena.acceptor().hello, near.hello(), NOW) is None

    return attack


def old_leaf_after_retirement() -> bool:
    """The keys of an epoch that is over, on a worker that has newer ones."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    responder.install(TERMS.epoch + 1, arena.secret_of(epoch=TERMS.epoch + 1))
    responder.retire(TERMS.epoch + 1)
    return establishes(arena.dialer(), Acceptor(EXEC, responder._secrets, TERMS, bytes(32)))


async def finish_after_retirement() -> bool:
    """A handshake that was under way when its keys were retired."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    responder.install(TERMS.epoch + 1, arena.secret_of(epoch=TERMS.epoch + 1))
    far, _lock = responder.new_end()
    far_wire, near_wire, side = Wire(), Wire(), Side()
    far.opened(far_wire)
    near = dialling(side, WEB, EXEC, arena.leaf_of(), TERMS)
    near.opened(near_wire)
    far.received(near_wire.sent.popleft())
    near.received(far_wire.sent.popleft())
    responder.retire(TERMS.epoch + 1)
    far.received(near_wire.sent.popleft())
    stays = not far_wire.aborted
    responder.close()
    return stays


def install_the_past() -> bool:
    """A rotation back to keys that may have leaked since."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    try:
        responder.install(TERMS.epoch - 1, arena.secret_of(epoch=TERMS.epoch - 1))
    except Misuse:
        return False
    return establishes(
        arena.dialer(terms=TERMS._replace(epoch=TERMS.epoch - 1)), Acceptor(EXEC, responder._secrets, TERMS, bytes(32))
    )


def dialled_in_vain() -> bool:
    """Somebody has the port of a worker that is gone, and never says a word."""
    ends = Ends()
    ends.near.expire()
    return not ends.near_wire.aborted


def answered_for_another() -> bool:
    """A HELLO that wants another worker, proved with a leaf of this one, gets an answer."""
    near = arena.dialer(server=OTHER_EXEC, leaf=arena.leaf_of())
    return arena.refusal(arena.acceptor().hello, near.hello(), NOW) is None


def between(client_terms: dict[str, Any], **fields: int | bytes) -> Callable[[], bool]:
    """In the middle: the two ends have other things in mind, and a rewritten HELLO lets each believe in its own."""

    def attack() -> bool:
        near = arena.dialer(terms=TERMS._replace(**client_terms), leaf=arena.leaf_of())
        return establishes(near, arena.acceptor(), lambda hello: arena.rewritten_hello(hello, **fields))

    return attack


def rename_the_client() -> bool:
    """In the middle: the server is made to take the client for its neighbour."""
    fields = {"client": OTHER_WEB.wire_id, "client_life": OTHER_WEB.wire_incarnation}
    return establishes(arena.dialer(), arena.acceptor(), lambda hello: arena.rewritten_hello(hello, **fields))


def rename_the_server() -> bool:
    """In the middle: a client that wants one worker is connected to another."""
    fields = {"server": EXEC.wire_id, "server_life": EXEC.wire_incarnation}
    near = arena.dialer(server=OTHER_EXEC)
    return establishes(near, arena.acceptor(), lambda hello: arena.rewritten_hello(hello, **fields))


def replay_a_connection_to_the_server() -> bool:
    """Everything a client once said, to a worker of the same name and secret."""
    ends = Ends().move()
    ends.near.send(Kind.REQUEST, CALL, body=b"pay 1")
    link, side, _ = arena.stranger()
    for message in ends.near_wire.said:
        link.received(message)
    return bool(side.frames)


def replay_a_connection_to_the_client() -> bool:
    """Everything a server once said, to a client of the same name and leaf."""
    ends = Ends().move()
    ends.far.send(Kind.REPLY, CALL, body=b"paid")
    side, wire = Side(), Wire()
    link = dialling(side, WEB, EXEC, arena.leaf_of(), TERMS)
    link.opened(wire)
    for message in ends.far_wire.said:
        link.received(message)
    return bool(side.frames)


FAR = TERMS._replace(carrier="redis")
"""Between hosts clocks differ, and are compared."""


def slow_for_the_client() -> bool:
    near, far = arena.dialer(terms=FAR), arena.acceptor(terms=FAR)
    return arena.refusal(near.accept, far.hello(near.hello(), NOW), NOW + ROUND_TRIP_MS + 1) is None


def slow_for_the_server() -> bool:
    near, far = arena.dialer(terms=FAR), arena.acceptor(terms=FAR)
    finish, _ = near.accept(far.hello(near.hello(), NOW), NOW)
    return arena.refusal(far.finish, finish, NOW + ROUND_TRIP_MS + 1) is None


# -- attacks on the link


def announce() -> bool:
    """A length that is none: memory is set aside for it."""
    deframer = Deframer(256)
    return arena.refusal(lambda: list(deframer.feed((1 << 20).to_bytes(4, "big")))) is None and deframer.partial


def forge_and_stay() -> bool:
    """After a forged frame the connection is as good as before."""
    ends = Ends().move()
    ends.near.send(Kind.REQUEST, CALL)
    genuine = ends.near_wire.sent.popleft()
    ends.far.received(genuine[:-1] + bytes([genuine[-1] ^ 1]))
    ends.far.received(genuine)
    return bool(ends.far_side.frames)


def forge_uncounted() -> bool:
    before = refusals.total()
    forge_and_stay()
    return refusals.total() == before


def speak_after_the_end() -> bool:
    """What comes in one piece with the frame that ended the link."""
    ends = Ends().move()
    ends.near.send(Kind.REQUEST, CALL)
    genuine = ends.near_wire.sent.popleft()
    ends.far.abort()
    ends.far.received(genuine)
    return bool(ends.far_side.frames)


class Idle:
    """A connection on which nothing moves any more, with `waiting` bytes that the peer does not take."""

    def __init__(self, waiting: int) -> None:
        self.waiting, self.aborted = waiting, False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


def waits(*, partial: bytes = b"", waiting: int = 0) -> Callable[[], Any]:
    """Keep a link at half a frame, or never read what it has to say, for a minute."""

    async def attack() -> bool:
        carrier, idle = StreamCarrier(Side(), 1 << 16), Idle(waiting)
        carrier._transport = idle
        carrier.data_received(partial)
        carrier._start_ticking()
        for _ in range(60):
            if carrier._ticker is not None:
                carrier._ticker.cancel()
            carrier._tick()
        if carrier._ticker is not None:
            carrier._ticker.cancel()
        return not idle.aborted

    return attack


def connect_as_another_user() -> bool:
    other = os.geteuid() + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: other)
        one, two = socket.socketpair()
        with one, two:
            return _is_ours(one)


async def crowd() -> bool:
    """More strangers than may be proving themselves at once."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    wires = []
    for _ in range(2 * MAX_HALF_OPEN):
        end, _lock = responder.new_end()
        wires.append(wire := Wire())
        end.opened(wire)
    responder.close()
    return len(responder._half_open) > MAX_HALF_OPEN


def connect(responder: Responder, client: WorkerName = WEB) -> Wire:
    """One web worker connects; the carrier of the other end."""
    far, _lock = responder.new_end()
    far_wire, near_wire = Wire(), Wire()
    far.opened(far_wire)
    near = dialling(Side(), client, EXEC, arena.leaf_of(client), TERMS)
    near.opened(near_wire)
    far.received(near_wire.sent.popleft())
    near.received(far_wire.sent.popleft())
    far.received(near_wire.sent.popleft())
    if far_wire.aborted:
        far.closed()
    return far_wire


async def hoard() -> bool:
    """One web worker, authentic but no longer its own, that takes every descriptor there is."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    for _ in range(3 * MAX_LINKS_OF_ONE):
        connect(responder)
    links = responder.links
    responder.close()
    return links > MAX_LINKS_OF_ONE


async def dawdle() -> bool:
    """Say nothing at all, for longer than anybody may."""
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    end, _lock = responder.new_end()
    end.opened(wire := Wire())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(responder_module, "HANDSHAKE_TIME", 0.01)
        end, _lock = responder.new_end()
        end.opened(wire := Wire())
    await asyncio.sleep(0.05)
    stays = not wire.aborted
    responder.close()
    return stays


# -- attacks of authentic peers


class Conn:
    """How a caller's links are made: at once, to a worker that the attacker holds."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[Link, Wire, Link, Wire]] = {}

    async def __call__(self, address: str, end: Any, _largest: int) -> None:
        name = WorkerName("cpu", int(address), 7)
        side, near_wire, far_wire = Side(), Wire(), Wire()
        from ipc.link import accepting

        far = accepting(side, name, {TERMS.epoch: arena.secret_of(name)}, TERMS)
        far.opened(far_wire)
        end.opened(near_wire)
        self.ends[address] = end, near_wire, far, far_wire
        self.move()

    def move(self) -> None:
        for near, near_wire, far, far_wire in self.ends.values():
            while near_wire.sent or far_wire.sent:
                while near_wire.sent:
                    far.received(near_wire.sent.popleft())
                while far_wire.sent:
                    near.received(far_wire.sent.popleft())


async def answer_for_another() -> bool:
    """A compromised exec worker answers the call that its neighbour has."""
    connect = Conn()
    caller = Caller(WEB, TERMS, Limits(), {"shop.pay": "cpu"}, connect)
    names = [WorkerName("cpu", slot, 7) for slot in (0, 1)]
    told = (Peer(str(name), str(name.slot), TERMS.epoch, arena.leaf_of(WEB, name)) for name in names)
    caller.update(Peers(tuple(told)))
    for _ in range(5):
        await asyncio.sleep(0)
    call = caller.call("shop.pay", CALL, b"", b"", 30.0)
    connect.move()
    holder = next(peer for peer in caller._mesh._peers.values() if CALL in peer.outstanding)
    other = next(address for address in connect.ends if address != str(holder.name.slot))
    connect.ends[other][2].send(Kind.REPLY, CALL, encode_meta(ReplyMeta(1, 0, 0)), b"a lie")
    connect.move()
    believed = call.future.done() and call.future.exception() is None
    await caller.close()
    if call.future.done():
        call.future.exception()
    return believed


def have_it_sent_to_another() -> bool:
    """A web worker asks in the name of its neighbour."""
    ends = Ends().move()
    return arena.refusal(_check_reply_to, ends.far, str(OTHER_WEB)) is None


def pose_as_a_web_worker() -> bool:
    """The key that an exec worker has for sending calls on, to make calls of its own."""
    leaf = leaf_key(arena.secret_of(EXEC), OTHER_EXEC, "exec")
    return establishes(arena.dialer(OTHER_EXEC, leaf=leaf), arena.acceptor())


def change_the_role() -> bool:
    """In the middle: what an exec worker says is taken for a web worker's."""
    leaf = leaf_key(arena.secret_of(EXEC), OTHER_EXEC, "exec")
    near = arena.dialer(OTHER_EXEC, terms=TERMS._replace(client="exec"), leaf=leaf)
    return establishes(near, arena.acceptor(), lambda hello: arena.rewritten_hello(hello, client_role=1))


def go_on() -> Track[str]:
    """A call that cpu-0 has sent on to gpu-0."""
    track: Track[str] = Track([Leg("cpu", ("shop.a",)), Leg("gpu", ("shop.b",)), Leg("cpu", ("shop.c",))])
    track.sent_on("cpu-0#1", "gpu-0#1")
    return track


def answer_without_being_named() -> bool:
    return go_on().standing("gpu-1#1") is Standing.HOLDS


def name_without_having_had_it() -> bool:
    return go_on().standing("cpu-1#1") is Standing.NAMES


def name_one_of_another_group() -> bool:
    return go_on().sent_on("cpu-0#1", "net-0#1")


def speak_early_without_end() -> bool:
    track = go_on()
    return all(track.keep(f"cpu-{number}#1", "a lie") for number in range(100))


def send_on_what_no_pipeline_does() -> bool:
    """A compromised exec worker calls a node of another group of its own accord."""
    side, wire = Side(), Wire()
    link = accepting(side, EXEC, {}, TERMS)
    link.opened(wire)
    link.role = "exec"
    rows = Rows(Engine({}, Log("cpu-0#1", LogSettings())), [("shop.b", "shop.c")])
    asked = RequestMeta("shop.pay", "", "", str(WEB))
    honest = RequestMeta("shop.b", "", "", str(WEB), rest=(Stage("shop.c"),))
    assert arena.refusal(rows.origin, link, honest, CALL) is None
    return arena.refusal(rows.origin, link, asked, CALL) is None


# -- the experiments


class Control(NamedTuple):
    """An attack that this guard alone stops, once those that stand before it are off."""

    attack: Callable[[], Any]
    beside: tuple[str, ...] = ()


TAG, PROOF = "hmac tag", "hello proof"
CONTROLS: dict[str, Control] = {
    "short": Control(cut_to_nothing),
    "magic and version": Control(change(version=2), (TAG,)),
    "flags": Control(say(flags=0x20)),
    "alg": Control(change(alg=0), (TAG,)),
    "body bound": Control(say_too_much),
    "exact length": Control(extend, (TAG,)),
    "kind": Control(say(kind=Kind.REPLY)),
    "sid": Control(move_to_another_session, (TAG,)),
    "epoch": Control(move_to_another_epoch, (TAG, "sid")),
    "counter check": Control(replay),
    "hmac tag": Control(forge(TERMS)),
    "gcm tag": Control(forge(GCM)),
    "counter commit": Control(replay),
    "tag before commit": Control(burn),
    "future": Control(date_ahead),
    "ttl": Control(hold_back),
    "strict order": Control(leave_out),
    "order where it is kept": Control(leave_out),
    "window's bit": Control(replay_where_order_is_not_kept),
    "window's end": Control(replay_from_behind_the_window),
    "seals after a fork": Control(seal_after_a_fork),
    "outgoing counter": Control(replay_to_itself_later),
    "root length": Control(no_secret),
    "key of an epoch": Control(same_key_next_epoch),
    "key of a server": Control(pose_as_another_server),
    "key of a client": Control(pose_as_another_client),
    "key of a connection": Control(move_to_another_session),
    "key of a direction": Control(reflect, ("kind", "sid")),
    "proof of a role": Control(echo_the_proof),
    "hello proof": Control(strangers_hello),
    "server's proof": Control(false_server),
    "client's proof": Control(recorded_hello_and_any_finish),
    "terms": Control(answered(ttl_ms=3_600_000)),
    "hello's alg": Control(answered(alg=Alg.AES_256_GCM)),
    "hello's epoch": Control(answered(epoch=TERMS.epoch + 1)),
    "hello's addressee": Control(answered_for_another),
    "carrier in the transcript": Control(between({"carrier": "memory"}, carrier=2), (PROOF,)),
    "client in the transcript": Control(rename_the_client, (PROOF, "key of a client")),
    "server in the transcript": Control(rename_the_server, (PROOF, "key of a server")),
    "epoch in the transcript": Control(between({"epoch": TERMS.epoch - 1}, epoch=TERMS.epoch), (PROOF,)),
    "limits in the transcript": Control(between({"ttl_ms": 3_600_000}, ttl=TERMS.ttl_ms), (PROOF,)),
    "client's nonce": Control(replay_a_connection_to_the_client),
    "server's nonce": Control(replay_a_connection_to_the_server),
    "client's round trip": Control(slow_for_the_client),
    "server's round trip": Control(slow_for_the_server),
    "length bound": Control(announce),
    "refusal ends the link": Control(forge_and_stay),
    "refusal is counted": Control(forge_uncounted),
    "nothing after the end": Control(speak_after_the_end),
    "dialler's patience": Control(dialled_in_vain),
    "retired keys": Control(old_leaf_after_retirement),
    "retired handshake": Control(finish_after_retirement),
    "epochs grow": Control(install_the_past),
    "frame time": Control(waits(partial=b"\0\0\1\0half of it")),
    "write stall": Control(waits(waiting=1000)),
    "same user": Control(connect_as_another_user),
    "links of one": Control(hoard),
    "half-open bound": Control(crowd),
    "handshake time": Control(dawdle),
    "asked of this worker": Control(answer_for_another),
    "reply to the asker": Control(have_it_sent_to_another),
    "key of a role": Control(pose_as_a_web_worker),
    "role in the transcript": Control(change_the_role, (PROOF, "key of a role")),
    "named for the call": Control(answer_without_being_named),
    "named by who had it": Control(name_without_having_had_it),
    "group that is next": Control(name_one_of_another_group),
    "early words": Control(speak_early_without_end),
    "declared rows": Control(send_on_what_no_pipeline_does),
}


async def outcome(attack: Callable[[], Any]) -> bool:
    found = attack()
    return bool(await found if asyncio.iscoroutine(found) else found)


@pytest.mark.parametrize("name", CONTROLS)
async def test_an_attack_fails_by_this_guard_and_succeeds_without_it(name: str) -> None:
    attack, beside = CONTROLS[name]
    with switched_off(*beside):
        assert not await outcome(attack)
    with switched_off(*beside, name):
        assert await outcome(attack)
    with switched_off(*beside):
        assert not await outcome(attack)


def test_every_guard_has_its_attack() -> None:
    assert set(CONTROLS) == GUARDS.keys() - DECODING.keys()


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_is_where_the_list_says(name: str) -> None:
    with switched_off(name):
        assert "->" in describe(name)


def test_words_that_are_gone_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    edit = GUARDS["sid"][0]._replace(old="if sid is right:")
    monkeypatch.setitem(GUARDS, "sid", (edit,))
    with pytest.raises(NoSuchWords, match="0 times"), switched_off("sid"):
        pass


async def test_one_who_hoards_links_keeps_nobody_else_out_and_may_come_again() -> None:
    responder = Responder(EXEC, arena.secret_of(), TERMS, Side())
    wires = [connect(responder) for _ in range(MAX_LINKS_OF_ONE + 5)]
    assert [wire.aborted for wire in wires] == [False] * MAX_LINKS_OF_ONE + [True] * 5
    assert not connect(responder, OTHER_WEB).aborted
    assert responder.links == MAX_LINKS_OF_ONE + 1
    next(iter(responder._links)).closed()
    assert not connect(responder).aborted
    responder.close()


def test_bounds_of_the_protocol_are_within_those_of_its_fields() -> None:
    assert MAX_META < 1 << 16
    assert LAST < 1 << 64
