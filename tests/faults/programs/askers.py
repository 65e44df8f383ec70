"""Clients that write down what they asked and everything they were told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from history import DONE, LATE, LEFT, Asked, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = b"\r\n\r\n"
UNANSWERED = "unanswered"
"""The connection ended, or nothing came for far too long: no verdict that a service may give."""
OK = 200
CROWDED = 512
"""Connections that are open at once at most; whoever comes then waits, as at any client's pool."""


def _request(target: str, request_id: str, body: str = "") -> bytes:
    head = f"{'POST' if body else 'GET'} {target} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {request_id}\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


class Answer(NamedTuple):
    """As it came over the connection."""

    status: int
    headers: str
    body: bytes


class Line:
    """One keep-alive connection, used for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.last: Asked | None = None
        """The call it was used for last."""

    def send(self, request: bytes) -> None:
        """Ask."""
        self._writer.write(request)

    async def answer(self) -> Answer:
        """Hear it to its end; EOFError if the connection ends before."""
        head = (await self._reader.readuntil(HEAD)).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return Answer(int(head.split()[1]), head, await self._reader.readexactly(length))

    async def more(self) -> bool:
        """Whether something was said that nobody asked for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                return bool(await self._reader.read(1))
        return False

    def close(self) -> None:
        """Go away, whatever is under way."""
        self._writer.transport.abort()


class Crowd:
    """Everybody who asks one service. `limits` are its endpoints and how long each may take, seconds."""

    def __init__(self, port: int, limits: Mapping[str, float], seed: int | None = None) -> None:
        self._port, self._limits = port, limits
        self.dice = random.Random(seed)
        self.calls: list[Asked] = []
        self._idle: list[Line] = []
        self._places = asyncio.Semaphore(CROWDED)

    async def ask(self, path: str, leave_after: float | None = None) -> Asked:
        """One call, written down; `/path?query`, to which its ticket is added. The client may leave before the end."""
        endpoint, _, query = path.partition("?")
        call = Asked(f"{self.dice.getrandbits(64):016x}", time.monotonic(), self._limits[endpoint])
        call.idempotent, call.relayed = endpoint.endswith("_again"), endpoint.startswith("/relay")
        self.calls.append(call)
        request = _request(f"{endpoint}?ticket={call.ticket}{'&' if query else ''}{query}", call.ticket)
        if endpoint.startswith("/batch"):  # whose items are bodies
            request = _request(endpoint, call.ticket, json.dumps(call.ticket))
        async with self._places:
            call.at = time.monotonic()
            await self._through(call, request, leave_after)
        return call

    async def _through(self, call: Asked, request: bytes, leave_after: float | None) -> None:
        line = self._idle.pop() if self._idle else Line(*await asyncio.open_connection("127.0.0.1", self._port))
        line.last = call
        try:
            line.send(request)
            async with asyncio.timeout(call.limit + 10 * LATE if leave_after is None else leave_after):
                answer = await line.answer()
            call.verdicts.append(read(answer, time.monotonic()))
        except TimeoutError:
            code = UNANSWERED if leave_after is None else LEFT
            call.verdicts.append(Verdict(time.monotonic(), 0, code))
            line.close()
        except (OSError, EOFError) as error:
            call.verdicts.append(Verdict(time.monotonic(), 0, UNANSWERED, repr(error)))
            line.close()
        else:
            self._idle.append(line)

    async def load(self, paths: Sequence[str], rate: float, seconds: float) -> list[Asked]:
        """So many calls a second, one path after the other by chance, due at fixed times whatever became of others."""
        began, tasks = time.monotonic(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(began + number / rate - time.monotonic())
            tasks.append(asyncio.create_task(self.ask(self.dice.choice(paths))))
        return await asyncio.gather(*tasks)

    async def get(self, path: str) -> Answer:
        """Something that is no call: health, say."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self._port))
        try:
            line.send(_request(path, "health"))
            async with asyncio.timeout(30):
                return await line.answer()
        finally:
            line.close()

    async def close(self) -> None:
        """Hang up. Whatever came on a connection after its last answer is a verdict too many."""
        for line in self._idle:
            if await line.more() and line.last is not None:
                line.last.verdicts.append(Verdict(time.monotonic(), 0, "one more"))
            line.close()
        self._idle.clear()


def read(answer: Answer, at: float) -> Verdict:
    """What an answer says: done, or the code of its error; and of which request it speaks."""
    ticket = answer.headers.partition("x-request-id: ")[2].partition("\r\n")[0]
    if answer.status != OK:
        return Verdict(at, answer.status, json.loads(answer.body)["code"], ticket)
    with suppress(ValueError):
        if isinstance(said := json.loads(answer.body), str):  # it was made by this call, if by any
            ticket = said
    return Verdict(at, OK, DONE, ticket)
