"""Two ends of a link on a carrier that a test holds in its hands: nothing moves unless the test moves it."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest

from ipc import link as link_module
from ipc.link import MAX_HANDSHAKE, Link, accepting, dialling, refusals
from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.wire.frame import Refusal, Refuse, max_frame
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from ipc.wire.frame import Frame

WEB, EXEC = WorkerName("web", 0, 3), WorkerName("cpu_sync", 1, 7)
SECRET = server_secret(root_for_epoch(bytes(range(32)), 0), EXEC)
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 0, 1 << 16, 30_000)
CALL = bytes(range(16))
NOISE = random.Random(1).randbytes(4096)


class Side:
    """Who uses a link, and all it was told."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.frames: list[Frame] = []
        self.refuse: Refusal | None = None

    def established(self, _link: Link) -> None:
        self.story.append("established")

    def heard(self, _link: Link, frame: Frame) -> None:
        if self.refuse is not None:
            raise Refuse(self.refuse)
        self.story.append("heard")
        self.frames.append(frame)

    def stale(self, _link: Link, frame: Frame) -> None:
        self.story.append("stale")
        self.frames.append(frame)

    def ended(self, _link: Link) -> None:
        self.story.append("ended")


class Wire:
    """A carrier that only takes notes."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.story: list[str] = []
        self.largest = MAX_HANDSHAKE

    def write(self, data: bytes) -> None:
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        self.sent.append(data[4:])

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join(parts))

    def limit(self, largest: int) -> None:
        self.largest = largest

    def close(self) -> None:
        self.story.append("close")

    def abort(self) -> None:
        self.story.append("abort")


class Ends:
    """A web worker's end and an exec worker's, opened and silent so far."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.web_side, self.exec_side = Side(), Side()
        self.web_wire, self.exec_wire = Wire(), Wire()
        self.web = dialling(self.web_side, WEB, EXEC, leaf_key(SECRET, WEB), terms)
        self.exec = accepting(self.exec_side, EXEC, {terms.epoch: SECRET}, terms)
        self.web.opened(self.web_wire)
        self.exec.opened(self.exec_wire)

    def move(self) -> None:
        """Carry everything across that was sent."""
        while self.web_wire.sent or self.exec_wire.sent:
            while self.web_wire.sent:
                self.exec.received(self.web_wire.sent.popleft())
            while self.exec_wire.sent:
                self.web.received(self.exec_wire.sent.popleft())


@pytest.fixture
def ends() -> Ends:
    ends = Ends()
    ends.move()
    return ends


@pytest.mark.parametrize("alg", Alg)
def test_both_ends_are_told_once_and_know_each_other(alg: Alg) -> None:
    ends = Ends(TERMS._replace(alg=alg))
    ends.move()
    assert ends.web_side.story == ends.exec_side.story == ["established"]
    assert ends.web.peer == EXEC.wire_id + EXEC.wire_incarnation
    assert ends.exec.peer == WEB.wire_id + WEB.wire_incarnation
    ends.web.send(Kind.REQUEST, CALL, b"\x90", b"body", 8, 250)
    ends.exec.send(Kind.REPLY, CALL, b"\x90", memoryview(b"answer"), 16)
    ends.move()
    request, reply = ends.exec_side.frames[0], ends.web_side.frames[0]
    assert (request.kind, request.call_id, request.meta, request.body) == (Kind.REQUEST, CALL, b"\x90", b"body")
    assert (request.flags, request.budget_ms) == (8, 250)
    assert (reply.kind, reply.body, reply.flags) == (Kind.REPLY, b"answer", 16)


def test_larger_frames_are_taken_only_from_who_has_proved_itself() -> None:
    ends = Ends()
    assert ends.exec_wire.largest == MAX_HANDSHAKE
    ends.exec.received(ends.web_wire.sent.popleft())
    assert ends.exec_wire.largest == MAX_HANDSHAKE
    ends.move()
    assert ends.exec_wire.largest == ends.web_wire.largest == max_frame(TERMS.max_payload)


def test_before_the_proof_nothing_is_sent_or_passed_on() -> None:
    ends = Ends()
    ends.web.send(Kind.REQUEST, CALL)
    ends.exec.send(Kind.REPLY, CALL)
    assert len(ends.web_wire.sent) == 1  # HELLO
    assert not ends.exec_wire.sent


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x04\x95", bytes(156), NOISE[:156]])
def test_a_stranger_is_refused_without_a_word(garbage: bytes) -> None:
    ends = Ends()
    before = refusals.total()
    ends.exec.received(garbage)
    assert ends.exec_wire.story == ["abort"]
    assert not ends.exec_wire.sent
    assert refusals.total() == before + 1
    assert ends.exec_side.story == []


def test_after_a_refusal_nothing_is_heard_any_more(ends: Ends) -> None:
    ends.web.send(Kind.REQUEST, CALL)
    ends.web.send(Kind.CANCEL, CALL)
    first, second = ends.web_wire.sent
    spoiled = bytearray(first)
    spoiled[70] ^= 1
    ends.exec.received(spoiled)
    ends.exec.received(first)
    ends.exec.received(second)
    assert ends.exec_side.story == ["established"]
    assert ends.exec_wire.story == ["abort"]


def test_what_the_side_refuses_ends_the_link_and_is_counted(ends: Ends) -> None:
    ends.exec_side.refuse = Refusal.UNAUTHORISED
    before = refusals[Refusal.UNAUTHORISED]
    ends.web.send(Kind.REQUEST, CALL)
    ends.move()
    assert refusals[Refusal.UNAUTHORISED] == before + 1
    assert ends.exec_wire.story == ["abort"]


def test_a_frame_is_not_accepted_twice(ends: Ends) -> None:
    ends.web.send(Kind.CANCEL, CALL)
    frame = ends.web_wire.sent.popleft()
    ends.exec.received(frame)
    ends.exec.received(frame)
    assert ends.exec_side.story == ["established", "heard"]
    assert ends.exec_wire.story == ["abort"]


def test_a_frame_sent_back_is_refused(ends: Ends) -> None:
    ends.web.send(Kind.CANCEL, CALL)
    ends.web.received(ends.web_wire.sent.popleft())
    assert ends.web_side.story == ["established"]
    assert ends.web_wire.story == ["abort"]


def test_what_is_too_large_is_the_senders_error_and_spoils_nothing(ends: Ends) -> None:
    with pytest.raises(Refuse):
        ends.web.send(Kind.REQUEST, CALL, b"", bytes(TERMS.max_payload + 1))
    with pytest.raises(Refuse):
        ends.web.send(Kind.REQUEST, CALL, bytes(4097))
    ends.web.send(Kind.REQUEST, CALL, bytes(4096), bytes(TERMS.max_payload))
    ends.move()
    assert len(ends.exec_side.frames) == 1
    assert len(ends.exec_side.frames[0].body) == TERMS.max_payload


def test_sending_on_a_link_that_has_ended_does_nothing(ends: Ends) -> None:
    ends.web.closed()
    ends.web.send(Kind.REQUEST, CALL)
    ends.web.close()
    ends.web.abort()
    assert not ends.web_wire.sent
    assert ends.web_side.story == ["established", "ended"]


def test_a_link_that_is_closed_hears_nothing_more(ends: Ends) -> None:
    ends.web.send(Kind.CANCEL, CALL)
    ends.exec.close()
    ends.move()
    assert ends.exec_wire.story == ["close"]
    assert ends.exec_side.story == ["established"]


@pytest.mark.parametrize("give_up", [Link.close, Link.abort])
def test_whoever_is_given_up_before_the_connection_stands_does_not_stay(give_up: object) -> None:
    side, wire = Side(), Wire()
    link = accepting(side, EXEC, {TERMS.epoch: SECRET}, TERMS)
    give_up(link)
    link.opened(wire)
    assert wire.story == ["abort"]
    dialled = dialling(side, WEB, EXEC, leaf_key(SECRET, WEB), TERMS)
    wire = Wire()
    give_up(dialled)
    dialled.opened(wire)
    assert wire.story == ["abort"]
    assert not wire.sent


def test_ended_is_told_also_of_a_link_that_was_never_established() -> None:
    ends = Ends()
    ends.exec.closed()
    ends.web.closed()
    assert ends.exec_side.story == ends.web_side.story == ["ended"]


def test_numbers_and_bytes_keep_one_order_whoever_sends(ends: Ends) -> None:
    def send() -> None:
        for _ in range(300):
            ends.exec.send(Kind.READY)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ends.move()
    assert len(ends.web_side.frames) == 1200
    assert ends.web_wire.story == []


def test_an_honest_frame_that_waited_too_long_does_not_end_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000]
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock[0])
    ends = Ends()
    ends.move()
    before = refusals[Refusal.EXPIRED]
    ends.web.send(Kind.REQUEST, CALL, b"\x90")
    clock[0] += TERMS.ttl_ms + 1
    ends.web.send(Kind.CANCEL, CALL)
    late = ends.web_wire.sent[0]
    ends.move()
    assert ends.exec_side.story == ["established", "stale", "heard"]
    assert [frame.kind for frame in ends.exec_side.frames] == [Kind.REQUEST, Kind.CANCEL]
    assert refusals[Refusal.EXPIRED] == before + 1
    ends.exec.received(late)
    assert ends.exec_wire.story == ["abort"]  # to be late is no licence to come twice


def test_a_handshake_between_hosts_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000]
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock[0])
    ends = Ends(TERMS._replace(carrier="redis"))
    clock[0] += 2001
    ends.move()
    assert "established" not in ends.web_side.story + ends.exec_side.story
    assert ends.web_wire.story == ["abort"]


@pytest.mark.parametrize("slow_at", [0, 1, 2])
def test_a_handshake_that_waited_somewhere_gives_a_link_that_lasts(
    monkeypatch: pytest.MonkeyPatch, slow_at: int
) -> None:
    """An exec worker may be busy for long: what comes next is neither from the future nor too old."""
    clock = [1_000_000]
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock[0])
    ends = Ends()
    for step in range(3):
        if step == slow_at:
            clock[0] += 100_000
        if ends.web_wire.sent:
            ends.exec.received(ends.web_wire.sent.popleft())
        elif ends.exec_wire.sent:
            ends.web.received(ends.exec_wire.sent.popleft())
    for _ in range(3):
        clock[0] += 5000
        ends.web.send(Kind.CANCEL, CALL)
        ends.exec.send(Kind.READY)
        ends.move()
    assert ends.exec_side.story == ends.web_side.story == ["established"] + ["heard"] * 3
