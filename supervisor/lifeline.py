"""The supervisor's end of one child's lifeline. Never waits, neither to hear nor to be heard."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import msgspec

from ipc.birth import hand_over
from ipc.errors import BadMessage
from ipc.messages.lifeline import MAX_MESSAGE, decode_from_child, encode
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ipc.birth import Belongings
    from ipc.messages.lifeline import FromChild, FromSupervisor

MAX_UNSENT = 2 * MAX_MESSAGE
"""How much a child may leave unread, bytes, before it counts as lost."""
HANG_UP_GRACE = 1.0
"""How long a process may outlive its end of the lifeline: most end at once, and then how they end says more."""
_CHUNK = 65_536
_CREDENTIALS = struct.Struct("3i")


class Lifeline:
    """Hears one child and speaks to it.

    A socket pair's peer credentials name the process that made the pair, which is the supervisor itself. So every
    message carries its sender's, which the kernel vouches for, and only process `pid` is listened to. If it is not
    known yet, whoever speaks first and `is_it` approves of is that process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        pid: int | None,
        on_message: Callable[[FromChild], None],
        on_lost: Callable[[str], None],
        is_it: Callable[[int], bool] = lambda _pid: False,
    ) -> None:
        self._loop = loop
        self._socket = end
        self._pid = pid
        self._is_it = is_it
        self._on_message = on_message
        self._on_lost = on_lost
        self._deframer = Deframer(MAX_MESSAGE)
        self._unsent = bytearray()
        self._grace: asyncio.TimerHandle | None = None
        end.setblocking(False)
        loop.add_reader(end.fileno(), self.hear)

    def send(self, message: FromSupervisor) -> None:
        """Say `message` as soon as the child's buffer takes it."""
        self._unsent += encode(message)
        self._flush()
        if len(self._unsent) > MAX_UNSENT:
            self._unsent.clear()
            self._loop.call_soon(self._on_lost, "does not read what it is told")

    def hand_over(self, belongings: Belongings) -> bool:
        """Order a worker from a template; whether that was possible."""
        return not self._unsent and hand_over(self._socket, belongings)

    def hear(self) -> bool:
        """Take what has come; whether there may be more."""
        try:
            data, carried, _flags, _address = self._socket.recvmsg(_CHUNK, socket.CMSG_SPACE(_CREDENTIALS.size))
        except BlockingIOError:
            return False
        except OSError:
            data, carried = b"", []
        if not data:
            # Of a process that nobody has met yet there will be no end to hear of.
            self._hang_up("closed its lifeline", 0.0 if self._pid is None else HANG_UP_GRACE)
            return False
        try:
            messages = self._understand(data, carried)
        except BadMessage as error:
            self._hang_up(str(error), 0.0)
            return False
        for message in messages:
            self._on_message(message)
        return True

    def close(self) -> None:
        """Hear the last that was said, then let go."""
        while self._socket.fileno() >= 0 and self._grace is None and self.hear():
            pass
        self._deafen()
        if self._grace is not None:
            self._grace.cancel()
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    def _understand(self, data: bytes, carried: list[tuple[int, int, bytes]]) -> list[FromChild]:
        senders = [
            _CREDENTIALS.unpack(credentials[: _CREDENTIALS.size])[0]
            for level, kind, credentials in carried
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        ]
        if self._pid is None and len(senders) == 1 and self._is_it(senders[0]):
            self._pid = senders[0]
        if senders != [self._pid]:
            raise BadMessage("somebody else spoke on its lifeline")
        try:
            return [decode_from_child(bytes(body)) for body in self._deframer.feed(data)]
        except msgspec.MsgspecError as error:
            raise BadMessage("said something that is no message") from error

    def _flush(self) -> None:
        try:
            while self._unsent:
                with memoryview(self._unsent) as view:
                    sent = self._socket.send(view)
                del self._unsent[:sent]
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._flush)
            return
        except OSError:  # it is dying; its exit will say more
            self._unsent.clear()
        self._loop.remove_writer(self._socket.fileno())

    def _hang_up(self, why: str, grace: float) -> None:
        self._deafen()
        if self._grace is None:
            self._grace = self._loop.call_later(grace, self._on_lost, why)

    def _deafen(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
