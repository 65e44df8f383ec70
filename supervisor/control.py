"""The answering side of the control socket: what becomes of an order."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketListener
from anyio.streams.buffered import BufferedByteReceiveStream

from ipc.messages.control import (
    MAX_LINE,
    Answer,
    AskStatus,
    Called,
    CallNode,
    Command,
    Done,
    Order,
    Progress,
    Refused,
    Reload,
    Restart,
    RestartWorker,
    RotateKeys,
    Scale,
    Status,
    Stop,
    Watch,
    decode_order,
    encode,
)
from supervisor.audience import Audience, until_gone
from supervisor.callers import refusal, send_away
from supervisor.events import Trouble
from supervisor.recent import Recent

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection

    from anyio.abc import SocketStream
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from supervisor.events import Event

DEADLINE = 5.0
"""How long a client may take to say what it wants, and to take its answer; seconds."""
MAX_CLIENTS = 64
_PAUSE = 1.0
_MAX_UNSAID = 256
_MAX_UNHEARD = 64


class Service(Protocol):
    """What can be asked of whoever runs the groups."""

    def status(self) -> Status:
        """What runs."""

    async def stop(self, force: bool, progress: Callable[[str], None]) -> None:
        """End everything; returns when it has ended."""

    async def restart(self, group: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace workers."""

    async def restart_worker(self, worker: str, progress: Callable[[str], None]) -> Done | Refused:
        """Replace one worker."""

    async def scale(self, group: str, workers: int, progress: Callable[[str], None]) -> Done | Refused:
        """Have more workers in a group, or fewer."""

    async def reload(self, progress: Callable[[str], None]) -> Done | Refused:
        """Read the configuration again and change what is not as it says."""

    async def rotate_keys(self) -> Done | Refused:
        """Give every worker new keys."""

    async def call(self, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
        """Call a node; returns what came of it, and the result."""

    def pids(self) -> Collection[int]:
        """The processes of the workers: they may ask for nothing."""


class Control:
    """Answers one order on each connection, a bounded number at a time."""

    def __init__(self, service: Service, tell: Callable[[Event], None], recent: Recent | None = None) -> None:
        self._service = service
        self._tell = tell
        self._audience = Audience(recent or Recent(), service.status)
        self._clients = 0
        self._idle = anyio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Answer until cancelled."""
        async with (
            await SocketListener.from_socket(listener.dup()) as clients,
            anyio.create_task_group() as tasks,
        ):
            while True:
                try:
                    client = await clients.accept()
                except (OSError, anyio.BrokenResourceError) as error:  # no descriptors left, say: later there may be
                    self._tell(Trouble(f"the control socket takes no clients for now: {error.__cause__ or error}"))
                    await anyio.sleep(_PAUSE)
                    continue
                if (why := self._refusal(client)) is None:
                    self._clients += 1
                    tasks.start_soon(self._answer, client)
                else:
                    send_away(client.extra(SocketAttribute.raw_socket), why)  # noqa: S610 -- anyio's, not Django's
                    await client.aclose()

    async def finish(self) -> None:
        """Wait a moment for answers that are under way, and a shorter one for those who only watch."""
        await self._audience.finish()
        with anyio.move_on_after(DEADLINE):
            while self._clients:
                self._idle = anyio.Event()
                await self._idle.wait()

    def _refusal(self, client: SocketStream) -> str | None:
        """Why this client is not even heard; None if it is. A worker takes nobody's place, however often it asks."""
        try:
            raw = client.extra(SocketAttribute.raw_socket)  # noqa: S610 -- anyio's, not Django's
            why = refusal(raw, self._service.pids())
        except Exception as error:  # noqa: BLE001 -- no client ends the service
            return self._failed(error).why
        return "too many ask at once; ask again" if why is None and self._clients >= MAX_CLIENTS else why

    async def _answer(self, client: SocketStream) -> None:
        try:
            async with client:
                await self._converse(client)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError, OSError):
            pass  # it went away, or does not read: it asked, and that is its affair
        except Exception as error:  # noqa: BLE001 -- no client ends the service
            self._failed(error)
        finally:
            self._clients -= 1
            self._idle.set()

    async def _converse(self, client: SocketStream) -> None:
        heard, result = BufferedByteReceiveStream(client), b""
        if isinstance(order := await _hear(heard), Refused):
            answer: Answer = order
        elif isinstance(order, Watch):
            answer = await self._watched(order, client)
        elif isinstance(order, CallNode):
            answer, result = await self._called(order, heard, client)
        else:
            answer = await self._obey(order, client)
        with anyio.fail_after(DEADLINE):
            await client.send(encode(answer) + result)
        if isinstance(answer, Refused):
            await _hear_out(client)

    async def _called(
        self, order: CallNode, heard: BufferedByteReceiveStream, client: SocketStream
    ) -> tuple[Called | Refused, bytes]:
        """Who makes a call and hangs up has it cancelled."""
        answer: tuple[Called | Refused, bytes] = Refused("who asked has left"), b""
        try:
            with anyio.fail_after(DEADLINE):
                arguments = await heard.receive_exactly(order.arguments)
                body = None if order.body is None else await heard.receive_exactly(order.body)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(until_gone, client, tasks.cancel_scope)
                answer = await self._service.call(order, arguments, body)
                tasks.cancel_scope.cancel()
        except (anyio.IncompleteRead, anyio.EndOfStream, TimeoutError):
            return Refused("what was to be called with did not come", usage=True), b""
        except Exception as error:  # noqa: BLE001 -- as below
            return self._failed(error), b""
        return answer

    async def _watched(self, order: Watch, client: SocketStream) -> Answer:
        """Who watches stays for long, and takes nobody's place who has an order to give."""
        self._clients -= 1
        self._idle.set()
        try:
            return await self._audience.serve(order, client)
        except Exception as error:  # noqa: BLE001 -- as below
            return self._failed(error)
        finally:
            self._clients += 1

    async def _obey(self, order: Command, client: SocketStream) -> Answer:
        said, to_say = anyio.create_memory_object_stream[str](_MAX_UNSAID)
        with to_say:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_pass_on, to_say, client)
                with said:
                    answer = await self._carry_out(order, partial(_say, said))
        return answer

    async def _carry_out(self, order: Command, progress: Callable[[str], None]) -> Answer:
        try:
            match order:
                case AskStatus():
                    answer: Answer = self._service.status()
                case Stop(force):
                    await self._service.stop(force, progress)
                    answer = Done("stopped")
                case Restart(group):
                    answer = await self._service.restart(group, progress)
                case RestartWorker(worker):
                    answer = await self._service.restart_worker(worker, progress)
                case Scale(group, workers):
                    answer = await self._service.scale(group, workers, progress)
                case Reload():
                    answer = await self._service.reload(progress)
                case RotateKeys():
                    answer = await self._service.rotate_keys()
        except Exception as error:  # noqa: BLE001 -- a fault in an answer must not end the service
            return self._failed(error)
        return answer

    def _failed(self, error: Exception) -> Refused:
        self._tell(Trouble(f"an order could not be carried out: {error!r}"))
        return Refused("this failed inside the supervisor, whose log says more")


async def _hear(heard: BufferedByteReceiveStream) -> Order | Refused:
    with anyio.move_on_after(DEADLINE):
        try:
            return decode_order(await heard.receive_until(b"\n", MAX_LINE))
        except anyio.DelimiterNotFound:
            return Refused(f"an order has at most {MAX_LINE} bytes", usage=True)
        except (anyio.IncompleteRead, anyio.EndOfStream):
            return Refused("no order came", usage=True)
        except msgspec.MsgspecError:
            return Refused("that is no order this version of Shunter knows", usage=True)
    return Refused("no order came in time", usage=True)


async def _hear_out(client: SocketStream) -> None:
    """Take what it still says: to hang up before would cost it the answer."""
    await client.send_eof()
    with anyio.move_on_after(_PAUSE), suppress(anyio.EndOfStream):
        for _ in range(_MAX_UNHEARD):
            await client.receive()


def _say(said: MemoryObjectSendStream[str], text: str) -> None:
    with suppress(anyio.WouldBlock, anyio.BrokenResourceError):  # progress is worth no waiting
        said.send_nowait(text)


async def _pass_on(to_say: MemoryObjectReceiveStream[str], client: SocketStream) -> None:
    """Tell the client what happens as long as it listens; what was ordered goes on without it."""
    async for text in to_say:
        try:
            with anyio.fail_after(DEADLINE):
                await client.send(encode(Progress(text)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError, OSError):
            return
