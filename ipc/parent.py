"""A child's view of its parent: what it was handed down, what it is to be, how they talk from then on."""

from __future__ import annotations

import os
import socket
import sys
import threading
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

import msgspec

from ipc.birth import wait_for_order
from ipc.confinement import Confinement
from ipc.errors import BadMessage, Misuse
from ipc.hardening import Orphaned, Termination, Unfit, harden, note_signals, require_reach
from ipc.messages.errand import Ask, Forget, More
from ipc.messages.lifeline import (
    MAX_MESSAGE,
    Admit,
    Bootstrap,
    Broken,
    Drain,
    Ended,
    Fork,
    Hardened,
    Install,
    Peers,
    Preload,
    Quarantined,
    Retire,
    Run,
    decode_from_supervisor,
    encode,
)
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from ipc.birth import Belongings
    from ipc.messages.lifeline import FromChild, FromSupervisor

First = TypeVar("First", Bootstrap, Preload, Run)
ORPHANED = 75
"""The exit code of a child that left because its supervisor had; nobody is there to read it."""
_CHUNK = 65_536
_FLAGS = {"--lifeline-fd": "lifeline", "--page-fd": "page", "--listener-fd": "listener", "--parent": "parent"}
_OTHERS = {"--allow-debug", "--template", "--mark"}  # the last is for whoever looks at this process from outside
_CONFINEMENT = {"--umask": "umask", "--uid": "uid", "--gid": "gid"}


class Inherited(NamedTuple):
    """What a child finds in its arguments: descriptors by number, and the pid of its parent. No secret."""

    lifeline: int
    page: int
    parent: int
    listener: int | None = None
    confinement: Confinement = Confinement()
    template: bool = False
    """Whether it serves nobody, and has workers forked from it instead."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that were handed down on purpose."""
        return tuple(fd for fd in (self.lifeline, self.page, self.listener) if fd is not None)


def inherited(argv: Sequence[str]) -> Inherited:
    """Read a child's arguments; Misuse if a person typed them."""
    words = dict(zip(argv[::2], argv[1::2], strict=False))
    known = (
        words.keys() <= {*_FLAGS, *_CONFINEMENT, *_OTHERS}
        and {"--lifeline-fd", "--page-fd", "--parent"} <= words.keys()
    )
    if len(argv) % 2 or not known or not all(word.isdecimal() for word in words.values()):
        raise Misuse("this program is started by Shunter's supervisor, not by hand")
    given = {name: int(words[flag]) for flag, name in _FLAGS.items() if flag in words}
    numbers = {name: int(words[flag]) for flag, name in _CONFINEMENT.items() if flag in words}
    confinement = Confinement(**numbers, debug=words.get("--allow-debug") == "1")
    return Inherited(**given, confinement=confinement, template=words.get("--template") == "1")


def leave() -> None:
    """End this process at once: its supervisor is dead, and whatever it does nobody looks after."""
    os._exit(ORPHANED)


class Parent:
    """The child's end of the lifeline.

    First `bootstrap`, which waits; then `listen`, once, in the thread of the event loop that is to hear the
    parent. `say` may be called from any thread at any time.
    """

    def __init__(self, lifeline: socket.socket) -> None:
        self._socket = lifeline
        self._saying = threading.Lock()
        self._deframer = Deframer(MAX_MESSAGE)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_peers: Callable[[Peers], None] = _ignore
        self._on_drain: Callable[[Drain], None] = _ignore
        self._on_keys: Callable[[Install | Retire], None] = _ignore
        self._on_fate: Callable[[Ended | Quarantined], None] = _ignore
        self._on_errand: Callable[[Ask | More | Forget], None] = _ignore
        self._on_admit: Callable[[Admit], None] = _ignore
        self._on_gone: Callable[[], None] = leave

    @classmethod
    def open(cls, fd: int) -> Parent:
        """Take over the descriptor of the lifeline."""
        os.set_inheritable(fd, False)
        lifeline = socket.socket(fileno=fd)
        lifeline.setblocking(True)
        return cls(lifeline)

    @classmethod
    def enter(cls, argv: Sequence[str]) -> tuple[Parent, Inherited, Termination]:
        """Everything a child does before its bootstrap: note signals, harden, say Hardened.

        Call it before any import that is not Shunter's. Raises Orphaned if the parent died meanwhile.
        """
        given = inherited(argv)
        parent, termination = cls.begin(given)
        return parent, given, termination

    @classmethod
    def begin(cls, given: Inherited, files: Iterable[int] = ()) -> tuple[Parent, Termination]:
        """The same for a process that was forked. The descriptors `files` stay open too."""
        termination = note_signals()
        parent = cls.open(given.lifeline)
        try:
            missing = harden(given.parent, (*given.descriptors, *files), given.confinement)
        except Unfit as error:
            parent.give_up(error)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # into a pipe Python would write whole blocks, and late
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
        parent.say(Hardened(pid=os.getpid(), missing=missing))
        return parent, termination

    def say(self, message: FromChild) -> bool:
        """Tell the supervisor; False if it is gone, of which `on_gone` hears too. Any thread."""
        data = encode(message)
        try:
            with self._saying:
                self._socket.sendall(data)
        except OSError:
            return False
        return True

    def bootstrap(self) -> Bootstrap:
        """Wait for the first thing the supervisor says: who this child is. Raises Orphaned, BadMessage.

        A child that cannot read its own application says so and leaves.
        """
        return self.first(Bootstrap)

    def order(self) -> Belongings:
        """Wait for the next order that a template is given. Raises Orphaned, BadMessage."""
        return wait_for_order(self._socket)

    def give_up(self, why: Exception) -> NoReturn:
        """Say that this child cannot do what it is for, and leave."""
        self.say(Broken(str(why)))
        raise SystemExit(1)

    def listen(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_peers: Callable[[Peers], None] | None = None,
        on_drain: Callable[[Drain], None] | None = None,
        on_keys: Callable[[Install | Retire], None] | None = None,
        on_fate: Callable[[Ended | Quarantined], None] | None = None,
        on_errand: Callable[[Ask | More | Forget], None] | None = None,
        on_admit: Callable[[Admit], None] | None = None,
        on_gone: Callable[[], None] = leave,
    ) -> None:
        """From now on hear the supervisor in `loop`; to be called in its thread.

        `on_gone` is called once, when the supervisor is dead or makes no sense any more.
        """
        self._on_peers, self._on_drain, self._on_gone = on_peers or _ignore, on_drain or _ignore, on_gone
        self._on_keys, self._on_fate, self._on_errand = on_keys or _ignore, on_fate or _ignore, on_errand or _ignore
        self._on_admit = on_admit or _ignore
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        """Stop listening and let go of the descriptor. The supervisor takes that for leaving."""
        self._deafen()
        self._socket.close()

    def first(self, kind: type[First]) -> First:
        """The same for what else a child may be told first: a template what to import, a guard what to run."""
        size = int.from_bytes(self._exactly(4), "big")
        if size > MAX_MESSAGE:
            raise BadMessage(f"a bootstrap of {size} bytes; {MAX_MESSAGE} are allowed")
        message = _decode(self._exactly(size))
        if not isinstance(message, kind):
            raise BadMessage(f"{type(message).__name__} before the bootstrap")
        reach = (message.settings.directory,) if isinstance(message, Run) else message.settings.sys_path
        try:
            require_reach(map(Path, reach))
        except Unfit as error:
            self.give_up(error)
        return message

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                data += (part := self._socket.recv(min(size - len(data), _CHUNK)))
            except ConnectionError:
                part = b""
            if not part:
                raise Orphaned
        return bytes(data)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
            messages = [_decode(body) for body in self._deframer.feed(data)]
        except BlockingIOError:
            return
        except (ConnectionError, BadMessage):
            data, messages = b"", []
        for message in messages:
            self._hear(message)
        if not data:
            self._deafen()
            self._on_gone()

    def _hear(self, message: FromSupervisor) -> None:
        match message:
            case Peers():
                self._on_peers(message)
            case Drain():
                self._on_drain(message)
            case Install() | Retire():
                self._on_keys(message)
            case Ended() | Quarantined():
                self._on_fate(message)
            case Ask() | More() | Forget():
                self._on_errand(message)
            case Admit():
                self._on_admit(message)
            case Bootstrap() | Preload() | Run() | Fork():
                pass  # a life has one; a second says nothing new

    def _deafen(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None


def _decode(body: bytes | bytearray) -> FromSupervisor:
    try:
        return decode_from_supervisor(bytes(body))
    except msgspec.MsgspecError as error:
        raise BadMessage("the supervisor said something that is no message") from error


def _ignore(_message: object) -> None:
    pass
