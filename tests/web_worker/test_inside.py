import asyncio
from typing import Any

import pytest

from ipc.errors import TooLarge
from web_worker.inside import Inbox, context, inside_of

END = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Client:
    """Says what it is told to say, when it is told to."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.say(*messages)

    def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self._queue.put_nowait(message)

    async def __call__(self) -> dict[str, Any]:
        return await self._queue.get()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_app_gets_everything_in_order() -> None:
    inbox = Inbox(Client(part(b"a", True), part(b"b"), END))
    assert [await inbox.receive() for _ in range(4)] == [part(b"a", True), part(b"b"), END, END]


async def test_who_waits_for_the_clients_leaving_takes_nothing_away() -> None:
    client = Client(part(b"a"))
    inbox = Inbox(client)
    waiting = asyncio.create_task(inbox.departed())
    await settle()
    assert await inbox.receive() == part(b"a")
    client.say(END)
    assert await waiting is True
    assert await inbox.receive() == END


async def test_both_may_wait_at_once() -> None:
    client = Client()
    inbox = Inbox(client)
    app = asyncio.create_task(inbox.receive())
    await settle()
    waiting = asyncio.create_task(inbox.departed())
    await settle()
    client.say(part(b"a"))
    assert await app == part(b"a")
    client.say(END)
    assert await waiting is True


async def test_an_app_that_comes_second_is_not_forgotten() -> None:
    client = Client()
    inbox = Inbox(client)
    waiting = asyncio.create_task(inbox.departed())
    await settle()
    app = asyncio.create_task(inbox.receive())
    await settle()
    client.say(part(b"a"), END)
    assert await app == part(b"a")
    assert await waiting is True


async def test_behind_a_body_that_is_not_read_nothing_can_be_seen() -> None:
    inbox = Inbox(Client(part(b"a", True), part(b"b"), END))
    assert await inbox.departed() is False
    assert [await inbox.receive() for _ in range(3)] == [part(b"a", True), part(b"b"), END]
    assert await inbox.departed() is True


async def test_after_the_answer_leaving_means_nothing() -> None:
    client = Client(part(b""))
    inbox = Inbox(client)
    waiting = asyncio.create_task(inbox.departed())
    await settle()
    inbox.answered = True
    client.say(END)
    assert await waiting is False
    assert await inbox.departed() is False


async def test_whoever_stops_waiting_leaves_the_other_alone() -> None:
    client = Client(part(b"a"))
    inbox = Inbox(client)
    waiting = asyncio.create_task(inbox.departed())
    await settle()
    waiting.cancel()
    await settle()
    assert await inbox.receive() == part(b"a")
    client.say(END)
    assert await inbox.receive() == END


async def test_a_body_may_be_bounded() -> None:
    inbox = Inbox(Client(part(b"aaa", True), part(b"bb")), most=4)
    assert (await inbox.receive())["body"] == b"aaa"
    with pytest.raises(TooLarge):
        await inbox.receive()


def test_outside_of_a_request_there_is_nothing_to_tell() -> None:
    assert context() == {}
    assert inside_of({}) is None
    assert inside_of({"shunter": "of somebody else"}) is None
