"""One worker, driven through real processes that misbehave in every way the driver must survive."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import anyio
import pytest
from stage import Live, Stage, groups

from ipc.messages.lifeline import MAX_MESSAGE, Drain, Ready, decode_from_supervisor, encode
from supervisor import events
from supervisor.lifeline import Lifeline
from supervisor.output import MAX_LINE, Lines
from supervisor.policy import RestartPolicy

pytestmark = pytest.mark.fault

SOON = RestartPolicy(limit=9, base=0.01, cap=0.01)


async def first_end(stage: Stage, how: str, **times: float) -> Any:
    """How the first life of a worker that behaves like this ends; a good one follows it."""
    stage.behave("all", how)
    async with stage.running(stage.plan(groups(cpu=1, web=0, **times)), policy=SOON) as live:
        end = await live.sees(events.WorkerExited, worker="cpu-0#1")
        stage.behave("all", "good")
        await live.sees(events.Serving)
        return end


@pytest.mark.parametrize(
    ("how", "times", "reason"),
    [
        ("exit 0", {}, "exited with code 0"),
        ("exit 3", {}, "exited with code 3"),
        ("segv", {}, "killed by SIGSEGV"),
        ("hang", {"start_timeout": 1.0}, "killed: did not become ready in 1 s"),
        ("ready at once", {}, "killed: said that it was ready before it was hardened"),
        ("nonsense", {}, "killed: said something that is no message"),
        ("hang-up", {}, "killed: closed its lifeline"),
    ],
)
def test_every_bad_end_has_its_words_and_is_followed_by_a_new_life(
    stage: Stage, how: str, times: dict[str, float], reason: str
) -> None:
    end = anyio.run(lambda: first_end(stage, how, **times))
    assert end.reason.startswith(reason)
    assert not end.expected


def test_before_it_is_ended_for_its_start_it_says_where_it_stands(stage: Stage) -> None:
    for timeout in (1.0, 5.0, 25.0):  # on a busy machine it is a while before it stands anywhere in its own code
        end = anyio.run(lambda timeout=timeout: first_end(stage, "hang", start_timeout=timeout))
        if said := any("standin.py" in line for line in end.last_words):
            break
    assert said


def test_an_end_brings_what_it_said_last(stage: Stage) -> None:
    end = anyio.run(first_end, stage, "exit 3")
    assert end.last_words == ("last words",)


def test_a_worker_that_does_not_drain_is_ended(stage: Stage) -> None:
    stage.behave("cpu", "deaf")

    async def story() -> Live:
        async with stage.running(stage.plan(groups(cpu=1, web=0, drain_timeout=0.3))) as live:
            await live.sees(events.Serving)
            os.kill(os.getpid(), 15)
            await live.over.wait()
            return live

    live = anyio.run(story)
    (end,) = live.seen(events.WorkerExited)
    assert end.reason == "killed: had not finished after 0.3 s"
    assert stage.notes(said="drain")[0]["grace"] == 0.3
    assert any("standin.py" in line for line in end.last_words), "first it said where it stood"


def test_a_worker_that_leaves_by_its_own_word_is_replaced_without_blame(stage: Stage) -> None:
    stage.behave("cpu", "recycle 0.05")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0)), policy=RestartPolicy(limit=0)) as live:
            end = await live.sees(events.WorkerExited, count=3)
            assert end.expected
            assert not live.seen(events.WorkerFailed)

    anyio.run(story)


def test_what_it_writes_is_told_in_safe_lines_of_bounded_length(stage: Stage) -> None:
    stage.behave("cpu", "chatter")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.until(lambda: len(live.seen(events.LineWritten)) >= 6)
            lines = live.seen(events.LineWritten)
            assert lines[0].text == "cpu-0#1 does: chatter"
            long = [line.text for line in lines if line.text.startswith("x")]
            assert "".join(long) == "x" * 100_000
            assert max(map(len, long)) == MAX_LINE
            assert [line.text for line in lines if line.stream == "stderr"] == ["bell \\x07"]

    anyio.run(story)


def test_lines_come_out_the_same_however_they_are_cut() -> None:
    data = "one\r\n\ntwo \N{SNOWMAN}\x1b[31m\nthree".encode() + b"\xff"
    expected = ["one", "", "two \N{SNOWMAN}\\x1b[31m", "three\\xff"]
    whole = Lines()
    assert [line.text for line in whole.feed(data) + whole.end()] == expected
    bytewise = Lines()
    found = [line for n in data for line in bytewise.feed(bytes([n]))] + bytewise.end()
    assert [line.text for line in found] == expected
    assert bytewise.end() == []


class Heard:
    """The supervisor's end of a lifeline, and what comes out of it."""

    def __init__(self, pid: int) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.said: list[Any] = []
        self.lost: list[str] = []
        loop = asyncio.get_running_loop()
        self.lifeline = Lifeline(loop, ours, pid, self.said.append, self.lost.append)


async def until(true: Any) -> None:
    with anyio.fail_after(30):
        while not true():  # noqa: ASYNC110 -- it watches what has no event
            await anyio.sleep(0.005)


def test_only_the_child_itself_is_listened_to() -> None:
    async def story() -> None:
        heard = Heard(os.getpid())
        heard.theirs.sendall(encode(Ready("tcp://a")))
        await until(lambda: heard.said)
        if (child := os.fork()) == 0:
            heard.theirs.sendall(encode(Ready("tcp://stranger")))
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 -- it lives for a moment
        await until(lambda: heard.lost)
        assert heard.said == [Ready("tcp://a")]
        assert heard.lost == ["somebody else spoke on its lifeline"]
        heard.lifeline.close()
        heard.theirs.close()

    anyio.run(story)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "said",
    [
        (MAX_MESSAGE + 1).to_bytes(4, "big"),
        b"\0\0\0\3xyz",
        b"\0\0\0\0",
        framed(b"\x82\xa4type\xa7drained\xa1x" + b"\x91" * 5000 + b"\x01"),
        framed(b"\x82\xa4type\xa6broken\xa4what\xa1\xff"),
        framed(b"\x83\xa4type\xa8hardened\xa3pid\x01\xa7missing\xdd\x00\x01\x00\x00" + b"\xa0" * 65_536),
    ],
    ids=["too long", "no message", "empty", "deep", "no text", "many"],
)
def test_what_is_no_message_is_the_end(said: bytes) -> None:
    async def story() -> None:
        heard = Heard(os.getpid())
        heard.theirs.sendall(said)
        await until(lambda: heard.lost)
        assert heard.said == []
        heard.lifeline.close()
        heard.theirs.close()

    anyio.run(story)


def test_a_child_that_does_not_read_is_lost_and_costs_bounded_memory() -> None:
    async def story() -> None:
        heard = Heard(os.getpid())
        message = Drain(1.0)
        for _ in range(100_000):
            heard.lifeline.send(message)
        assert not heard.lost
        heard.lifeline._unsent += bytes(2 * MAX_MESSAGE)
        heard.lifeline.send(message)
        await until(lambda: heard.lost)
        assert heard.lost == ["does not read what it is told"]
        heard.lifeline.close()
        heard.theirs.close()

    anyio.run(story)


def test_much_is_said_to_a_slow_reader_in_order() -> None:
    async def story() -> None:
        heard = Heard(os.getpid())
        for n in range(50_000):
            heard.lifeline.send(Drain(float(n)))
        reader, _writer = await asyncio.open_connection(sock=heard.theirs)
        for n in range(50_000):
            size = int.from_bytes(await reader.readexactly(4), "big")
            assert decode_from_supervisor(await reader.readexactly(size)) == Drain(float(n))
        heard.lifeline.close()
        _writer.close()

    anyio.run(story)


def test_the_last_words_on_a_lifeline_are_heard_before_it_is_closed() -> None:
    async def story() -> None:
        heard = Heard(os.getpid())
        heard.theirs.sendall(encode(Ready("tcp://a")) + encode(Ready("tcp://b")))
        heard.theirs.close()
        heard.lifeline.close()
        assert heard.said == [Ready("tcp://a"), Ready("tcp://b")]

    anyio.run(story)
