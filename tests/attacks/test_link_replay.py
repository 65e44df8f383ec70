"""What was heard once is never heard again: at once, later, after a restart; as a frame or as a whole connection."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import arena
import pytest
from arena import CALL, EXEC, NOW, SOAK, TERMS, WEB, Ends, Side, Wire, pair, refusal, seal

from ipc.link import accepting, dialling, refusals
from ipc.messages.calls import Kind
from ipc.responder import Responder
from ipc.transport.tcp import dial
from ipc.wire.frame import Refusal
from ipc.wire.handshake import ACCEPT_SIZE, MAX_HANDSHAKE, ROUND_TRIP_MS
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.session import Terms

RATE, SECONDS = 200, 40
"""Frames of one session and how long it lasts in its own time: longer than an envelope may live."""
DELAYS = (0, 1, 5_000, 29_999, 30_001, 86_400_000)
"""How long after it was accepted a frame comes again, ms."""


@pytest.fixture(params=Alg)
def terms(request: pytest.FixtureRequest) -> Terms:
    return TERMS._replace(alg=request.param)


@pytest.mark.soak
def test_no_frame_is_accepted_again_after_any_time(terms: Terms) -> None:
    session = pair(terms)
    again: list[tuple[int, bytes]] = []
    for number in range(RATE * SECONDS * min(SOAK, 10) // 4):
        now = NOW + number * 1000 // RATE
        frame = seal(session.client, now=now, body=b"%d" % number)
        assert session.server.open(frame, now).body == b"%d" % number
        if number % 50 == 0:
            again += [(now + delay, frame) for delay in DELAYS]
        assert refusal(session.server.open, frame, now) is Refusal.REPLAY
    for at, frame in again:
        assert refusal(session.server.open, frame, at) is Refusal.REPLAY


class Forgetful:
    """What is often taken for replay protection: the last so many numbers, the oldest forgotten first."""

    def __init__(self, size: int) -> None:
        self._size, self._seen = size, {}

    def check(self, counter: int) -> Refusal | None:
        return Refusal.REPLAY if counter in self._seen else None

    def commit(self, counter: int) -> None:
        self._seen[counter] = None
        while len(self._seen) > self._size:
            del self._seen[next(iter(self._seen))]


def test_a_cache_in_the_place_of_the_counter_lets_old_frames_in_again(terms: Terms) -> None:
    """The negative control of the above."""
    session = pair(terms)
    session.server._window = Forgetful(1000)
    frames = [seal(session.client) for _ in range(1500)]
    for frame in frames:
        session.server.open(frame, NOW)
    again = [arena.accepts(session.server, frame) for frame in frames[:500]]
    assert all(again)


def test_a_frame_that_was_held_back_comes_once_and_too_late_is_not_acted_on(terms: Terms) -> None:
    for delay, in_time in ((TERMS.ttl_ms, True), (TERMS.ttl_ms + 1, False)):
        session = pair(terms)
        frame = seal(session.client)
        reason = refusal(session.server.open, frame, NOW + delay)
        assert reason is (None if in_time else Refusal.EXPIRED)
        assert refusal(session.server.open, frame, NOW + delay) is Refusal.REPLAY


@pytest.mark.parametrize("fresh", ["client", "server", "both"])
def test_a_restart_of_either_end_ends_what_its_frames_are_worth(terms: Terms, fresh: str) -> None:
    """Even of a worker that has its name, incarnation and secret again, as it would have after a crash of its maker."""
    nonces = [bytes([1]) * 32, bytes([2]) * 32]
    first = arena.shake(arena.dialer(terms=terms, nonce=nonces[0]), arena.acceptor(terms=terms, nonce=nonces[1]))
    requests = [seal(first.client) for _ in range(3)]
    replies = [seal(first.server, Kind.REPLY) for _ in range(3)]
    if fresh in {"client", "both"}:
        nonces[0] = bytes([3]) * 32
    if fresh in {"server", "both"}:
        nonces[1] = bytes([4]) * 32
    second = arena.shake(arena.dialer(terms=terms, nonce=nonces[0]), arena.acceptor(terms=terms, nonce=nonces[1]))
    for frame in requests:
        assert refusal(second.server.open, frame, NOW) is Refusal.SESSION
        assert not arena.accepts(second.server, arena.rewritten(frame, sid=second.client._out_sid))
    for frame in replies:
        assert refusal(second.client.open, frame, NOW) is Refusal.SESSION
        assert not arena.accepts(second.client, arena.rewritten(frame, sid=second.server._out_sid))


def test_a_recorded_hello_is_answered_and_nothing_more(terms: Terms) -> None:
    ends = Ends(terms).move()
    hello, finish = ends.near_wire.said
    link, side, wire = arena.stranger(terms)
    link.received(hello)
    assert len(wire.said) == 1  # ACCEPT, under a nonce that is new
    before = refusals[Refusal.MAC]
    link.received(finish)
    assert (side.up, wire.aborted, len(wire.said), refusals[Refusal.MAC]) == (False, True, 1, before + 1)


def test_a_hello_says_nothing_twice_on_one_connection(terms: Terms) -> None:
    link, side, wire = arena.stranger(terms)
    hello = arena.dialer(terms=terms).hello()
    link.received(hello)
    link.received(hello)
    assert (side.up, wire.aborted, len(wire.said)) == (False, True, 1)


def test_a_recorded_accept_convinces_no_other_client(terms: Terms) -> None:
    ends = Ends(terms).move()
    ends.far.send(Kind.READY)
    side, wire = Side(), Wire()
    link = dialling(side, WEB, EXEC, arena.leaf_of(), terms)
    link.opened(wire)
    for message in ends.far_wire.said:
        link.received(message)
    assert (side.up, wire.aborted, len(wire.said), side.frames) == (False, True, 1, [])


def test_a_handshake_between_hosts_cannot_be_held_back_to_make_frames_look_young() -> None:
    terms = TERMS._replace(carrier="redis")
    near, far = arena.dialer(terms=terms), arena.acceptor(terms=terms)
    hello = near.hello()
    later = NOW + 60_000
    accept = far.hello(hello, later)  # HELLO waited for a minute in the attacker's hands
    assert refusal(near.accept, accept, later) is Refusal.TIMEOUT
    finish, _ = near.accept(accept, NOW + ROUND_TRIP_MS)
    assert refusal(far.finish, finish, later + ROUND_TRIP_MS + 1) is Refusal.TIMEOUT


@pytest.mark.parametrize("order", [[0, 2], [1], [2], [0, 1, 2], [2, 1, 0], [0, 0, 2], [0, 2, 2]])
def test_messages_of_a_handshake_in_any_other_order_make_no_link(terms: Terms, order: list[int]) -> None:
    messages = pair(terms).messages
    link, side, wire = arena.stranger(terms)
    for number in order:
        link.received(messages[number])
    assert (side.up, wire.aborted) == (False, True)


class Tap:
    """An attacker between two ends of a connection: hands everything on and keeps a copy. Lives in a thread."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        near, _ = self._listener.accept()
        with near, socket.create_connection(self._target) as far:
            other = {near: far, far: near}
            while other:
                for one in select.select(list(other), [], [], 30)[0]:
                    data = one.recv(65_536)
                    if not data:
                        return
                    if one is near:
                        self.heard += data
                    other[one].sendall(data)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(30)


def play(address: str, record: bytes, piece: int) -> bytes:
    """Say it all again; returns what was answered until the other end closed."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), 30) as attacker, suppress(OSError):
        attacker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(record), piece):
            attacker.sendall(record[at : at + piece])
        while data := attacker.recv(4096):
            answer += data
    return answer


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - it may happen in another thread
            await asyncio.sleep(0.001)


class Service:
    """An exec worker's own part."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def heard(self, _link: Any, frame: Any) -> None:
        self.frames.append(frame)

    def stale(self, _link: Any, frame: Any) -> None:
        self.frames.append(frame)

    def ended(self, _link: Any) -> None: ...


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("piece", [1 << 20, 1, 37])
async def test_a_recorded_connection_over_tcp_is_worth_nothing(restarted: bool, piece: int) -> None:
    """Byte for byte, in one piece or in small ones, to the worker it was meant for or to that worker's next life."""
    service = Service()
    responder = Responder(EXEC, arena.secret_of(), TERMS, service)
    address = await responder.listen("127.0.0.1", 0)
    tap, side = Tap(address), Side()
    link = dialling(side, WEB, EXEC, arena.leaf_of(), TERMS)
    await dial(tap.address, link, MAX_HANDSHAKE)
    await until(lambda: side.up)
    for number in range(3):
        link.send(Kind.REQUEST, CALL, body=b"pay %d" % number)
    await until(lambda: len(service.frames) == 3)
    link.close()
    await until(lambda: side.over)
    tap.close()
    if restarted:
        responder.close()
        responder = Responder(EXEC, arena.secret_of(), TERMS, service)
        address = await responder.listen("127.0.0.1", 0)
    before = refusals[Refusal.MAC]
    answer = await asyncio.to_thread(play, address, tap.heard, piece)
    assert len(answer) <= 4 + ACCEPT_SIZE  # to a HELLO that is authentic; and then no byte
    await until(lambda: refusals[Refusal.MAC] == before + 1)
    assert len(service.frames) == 3
    responder.close()


async def test_the_same_bytes_reach_an_honest_worker_when_nothing_is_recorded() -> None:
    """The negative control of the above: a link under a nonce that was used already hears everything again."""
    ends = Ends()
    nonce = ends.far._shaking._nonce
    ends.move()
    ends.near.send(Kind.REQUEST, CALL)
    side, wire = Side(), Wire()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.urandom", lambda _size: nonce)
        link = accepting(side, EXEC, {TERMS.epoch: arena.secret_of()}, TERMS)
    link.opened(wire)
    for message in ends.near_wire.said:
        link.received(message)
    assert (side.up, len(side.frames)) == (True, 1)
