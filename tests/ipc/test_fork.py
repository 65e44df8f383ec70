"""A child that a worker forks has none of its keys, whatever it looks through; the worker has not noticed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import sys
from contextlib import suppress
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Self

import anyio
import msgspec
import pytest

from ipc.caller import Caller
from ipc.errors import Misuse
from ipc.link import Link, accepting, dialling
from ipc.messages.calls import Kind, ReplyMeta, decode_request, encode_meta
from ipc.messages.lifeline import Peer, Peers
from ipc.messages.settings import Limits
from ipc.names import WorkerName
from ipc.responder import Responder
from ipc.wire import handshake
from ipc.wire.frame import Refusal, Refuse
from ipc.wire.keys import leaf_key
from ipc.wire.session import Session, Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.frame import Frame

WEB, EXEC = WorkerName("web", 0, 3), WorkerName("cpu_sync", 1, 7)
CALL = bytes(range(16))


class Echo:
    """An exec worker's service."""

    def __init__(self) -> None:
        self.link: Link | None = None

    def heard(self, link: Link, frame: Frame) -> None:
        decode_request(frame.meta)
        self.link = link
        link.send(Kind.REPLY, frame.call_id, encode_meta(ReplyMeta(1, 0, 0)), bytes(frame.body))

    def stale(self, link: Link, frame: Frame) -> None: ...
    def ended(self, link: Link) -> None: ...


class Silent:
    def established(self, link: Link) -> None: ...
    def heard(self, link: Link, frame: Frame) -> None: ...
    def stale(self, link: Link, frame: Frame) -> None: ...
    def ended(self, link: Link) -> None: ...


ATOMS = {str, int, float, bool, type(None)}
"""Most of what there is, and nothing can be reached from it."""
AT_ONCE = 10_000
"""Of so many things one asks at once what they refer to: there are millions."""


def digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def held(thing: object) -> bytes:
    """What it holds, if that is as long as a secret; otherwise nothing."""
    if isinstance(thing, bytes | bytearray | memoryview):
        with suppress(ValueError):  # a view that was released, of which nothing can be read
            return bytes(thing) if len(thing) in (4, 32) else b""
    return b""


def found(digests: set[bytes]) -> set[bytes]:
    """Which of the secrets with these digests can be reached from anything there is in this process."""
    seen: set[int] = set()
    everything = gc.get_objects()
    hits = set(map(digest, filter(None, map(held, everything))))
    reached: list[Any] = [*everything, *sys._current_frames().values()]
    while reached:
        some = reached[-AT_ONCE:]
        del reached[-AT_ONCE:]
        for thing in filterfalse(gc.is_tracked, gc.get_referents(*some)):  # the others were there from the beginning
            if type(thing) in ATOMS or id(thing) in seen:
                continue
            seen.add(id(thing))
            if secret := held(thing):
                hits.add(digest(secret))
            else:
                reached.append(thing)
    return hits & digests


def in_a_child(act: Callable[[], object]) -> Any:
    """What `act` returns in a child that is forked here and now."""
    mine, its = os.pipe()
    if (child := os.fork()) == 0:
        try:
            answer = msgspec.json.encode(act())
        except BaseException as error:  # noqa: BLE001 - the child must not go on as a second pytest
            answer = msgspec.json.encode(f"{type(error).__name__}: {error}")
        os.write(its, answer)
        os._exit(0)
    os.close(its)
    with os.fdopen(mine, "rb") as told:
        answer = told.read()
    os.waitpid(child, 0)
    return msgspec.json.decode(answer)


def raises_misuse(act: Callable[..., object], *args: Any) -> bool:
    try:
        act(*args)
    except Misuse:
        return True
    return False


class Service:
    """A web worker and an exec worker in one loop, connected, and the digests of every key they ever had."""

    def __init__(self, alg: Alg, monkeypatch: pytest.MonkeyPatch) -> None:
        self.terms = Terms("tcp_local", alg, 0, 1 << 16, 30_000)
        self.echo = Echo()
        self.long_lived: set[bytes] = set()
        self.derived: set[bytes] = set()
        derive = handshake.session_keys

        def watched(leaf: bytes, transcript: bytes) -> Any:
            keys = derive(leaf, transcript)
            for way in (keys.client_to_server, keys.server_to_client):
                self.derived |= {digest(way.key), digest(way.salt)}
            self.derived |= {digest(keys.confirm_client), digest(keys.confirm_server)}
            return keys

        monkeypatch.setattr(handshake, "session_keys", watched)

    async def __aenter__(self) -> Self:
        secret = os.urandom(32)
        leaf = leaf_key(secret, WEB)
        self.long_lived = {digest(secret), digest(leaf)}
        self.responder = Responder(EXEC, secret, self.terms, self.echo)
        address = await self.responder.listen("127.0.0.1", 0)
        self.half = accepting(Silent(), EXEC, {0: secret}, self.terms)
        self.asking = dialling(Silent(), WEB, EXEC, leaf, self.terms)
        self.caller = Caller(WEB, self.terms, Limits(), {"node": "cpu_sync"})
        self.caller.update(Peers((Peer(str(EXEC), address, 0, leaf),)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.caller.close()
        self.responder.close()
        with anyio.fail_after(30):
            while self.responder.links:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)

    async def ask(self, body: bytes) -> bytes:
        meta = msgspec.msgpack.encode(["node", "id", "", str(WEB)])
        answer = await self.caller.call("node", os.urandom(16), meta, body, 30.0).future
        return bytes(answer.body)

    @property
    def sessions(self) -> list[Session]:
        return [thing for thing in gc.get_objects() if isinstance(thing, Session)]


@pytest.fixture(params=Alg)
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(request.param, monkeypatch)


async def test_a_child_has_no_keys_and_the_parent_still_has_them(service: Service) -> None:
    async with service:
        assert await service.ask(b"before") == b"before"
        known = service.long_lived | service.derived
        assert found(known) >= service.long_lived  # so the search does find what there is
        assert in_a_child(lambda: [secret.hex() for secret in found(known)]) == []
        assert await service.ask(b"afterwards") == b"afterwards"
        assert found(known) >= service.long_lived


async def test_a_child_can_neither_seal_nor_open(service: Service) -> None:
    async with service:
        await service.ask(b"before")
        assert len(service.sessions) >= 2
        link = service.echo.link
        assert link is not None

        def child() -> list[bool]:
            tried = [raises_misuse(link.send, Kind.REPLY, CALL, b"", b"from the child")]
            for session in service.sessions:
                tried.append(raises_misuse(session.seal, Kind.REPLY, 0))
                frame = bytearray(200)
                tried.append(raises_misuse(session._in.open, frame, 0))
                tried.append(raises_misuse(session._out.close, b"", b"", b"", 0))
            return tried

        assert set(in_a_child(child)) == {True}
        assert await service.ask(b"afterwards") == b"afterwards"


async def test_a_child_cannot_shake_hands(service: Service) -> None:
    """Neither can it finish a handshake that its parent began, nor begin one of its own."""
    async with service:
        await service.ask(b"before")

        def child() -> str:
            hello = service.asking._shaking.hello()
            with pytest.raises(Refuse) as refused:
                service.half._shaking.hello(hello, 0)
            return refused.value.reason.value

        service.half._shaking.hello(service.asking._shaking.hello(), 0)  # here it would be believed
        assert in_a_child(child) in {Refusal.EPOCH.value, Refusal.MAC.value}
        assert await service.ask(b"afterwards") == b"afterwards"
