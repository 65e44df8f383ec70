"""A child's end of its lifeline, with a socket pair whose other end plays the supervisor."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from ipc.errors import BadMessage, Misuse
from ipc.hardening import Orphaned
from ipc.messages.lifeline import MAX_MESSAGE, Bootstrap, Drain, Peer, Peers, Ready, decode_from_child, encode
from ipc.messages.settings import ExecSettings, Limits, LogSettings
from ipc.parent import Inherited, Parent, inherited

if TYPE_CHECKING:
    from collections.abc import Iterator

Ends = tuple[socket.socket, Parent]
BOOTSTRAP = Bootstrap("cpu-0#1", 1, "hmac", Limits(), LogSettings(), ExecSettings(nodes=()), b"k" * 32)


@pytest.fixture
def ends() -> Iterator[Ends]:
    far, near = socket.socketpair()
    with far:
        parent = Parent.open(near.detach())
        yield far, parent
        parent.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = request.param()
    yield loop
    loop.close()


def test_arguments_are_read() -> None:
    argv = ["--lifeline-fd", "3", "--page-fd", "4", "--listener-fd", "5", "--parent", "77"]
    assert inherited(argv) == Inherited(lifeline=3, page=4, listener=5, parent=77)
    assert inherited(argv[:4] + argv[6:]).descriptors == (3, 4)


@pytest.mark.parametrize(
    "argv", [[], ["--help"], ["--lifeline-fd", "x", "--page-fd", "4", "--parent", "1"], ["--parent", "1"]]
)
def test_a_person_is_told_that_this_is_no_command(argv: list[str]) -> None:
    with pytest.raises(Misuse, match="not by hand"):
        inherited(argv)


def test_the_bootstrap_is_waited_for_however_it_arrives(ends: Ends) -> None:
    far, parent = ends
    data = encode(BOOTSTRAP) + encode(Drain(3.0))

    def dribble() -> None:
        for byte in data:
            far.sendall(bytes([byte]))

    thread = threading.Thread(target=dribble)
    thread.start()
    assert parent.bootstrap() == BOOTSTRAP
    thread.join()


def test_a_supervisor_that_dies_before_the_bootstrap_leaves_an_orphan(ends: Ends) -> None:
    far, parent = ends
    far.sendall(b"\0\0")
    far.close()
    with pytest.raises(Orphaned):
        parent.bootstrap()


@pytest.mark.parametrize("said", [encode(Drain(1.0)), (MAX_MESSAGE + 1).to_bytes(4, "big"), b"\0\0\0\1x"])
def test_nothing_else_passes_for_a_bootstrap(ends: Ends, said: bytes) -> None:
    far, parent = ends
    far.sendall(said)
    with pytest.raises(BadMessage):
        parent.bootstrap()


def hear(far: socket.socket, parent: Parent, loop: asyncio.AbstractEventLoop, data: bytes) -> list[Any]:
    """Everything the child hears of `data` until the supervisor is gone."""
    heard: list[Any] = []

    async def until_gone() -> None:
        gone = asyncio.Event()
        parent.listen(loop, on_peers=heard.append, on_drain=heard.append, on_gone=gone.set)
        for start in range(0, len(data), 7):
            far.sendall(data[start : start + 7])
            await asyncio.sleep(0)
        far.shutdown(socket.SHUT_WR)
        await gone.wait()

    loop.run_until_complete(until_gone())
    return heard


def test_what_comes_later_is_heard_in_the_loop(ends: Ends, loop: asyncio.AbstractEventLoop) -> None:
    peers = Peers((Peer("cpu-0#1", "tcp://127.0.0.1:1", 1, b"k"),))
    said = [peers, Drain(5.0), Peers(())]
    assert hear(*ends, loop, b"".join(map(encode, said))) == said


@pytest.mark.parametrize("nonsense", [(MAX_MESSAGE + 1).to_bytes(4, "big"), b"\0\0\0\2no", b"\0\0\0\0"])
def test_a_supervisor_that_makes_no_sense_is_as_good_as_gone(
    ends: Ends, loop: asyncio.AbstractEventLoop, nonsense: bytes
) -> None:
    assert hear(*ends, loop, encode(Drain(5.0)) + nonsense)[:1] in ([], [Drain(5.0)])


def test_any_thread_may_speak_and_messages_stay_whole(ends: Ends) -> None:
    far, parent = ends

    def speak(n: int) -> None:
        for _ in range(50):
            assert parent.say(Ready(f"tcp://127.0.0.1:{n}" + "x" * 300))

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(4)]
    reader = far.makefile("rb")
    for thread in threads:
        thread.start()
    for _ in range(200):
        size = int.from_bytes(reader.read(4), "big")
        assert isinstance(decode_from_child(reader.read(size)), Ready)
    for thread in threads:
        thread.join()
    reader.close()


def test_speaking_to_a_dead_supervisor_is_no_error(ends: Ends) -> None:
    far, parent = ends
    far.close()
    parent.say(Ready())
    assert parent.say(Ready()) is False
