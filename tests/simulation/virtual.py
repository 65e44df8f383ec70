"""Many processes in one thread, in a time that passes only when nothing is left to do in it.

Each process has an event loop of its own, so that it can be stopped, killed and have clocks that go wrong without
the others noticing. asyncio's tasks and futures are the real ones; only who runs them and when is ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from network import Network

KEPT_LINES = 4000
"""So much of the story is told when it goes wrong."""


class Violation(AssertionError):
    """Something happened that must never happen."""


class Killed(BaseException):
    """A thread of a process that is no more goes no further."""


class World:
    """The one queue of all that will happen. What happens at the same time happens in the order it was asked for."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.current: Process | None = None
        self.processes: list[Process] = []
        self.network: Network
        self.violation: Violation | None = None
        self.boot = self.rng.uniform(10, 1e6)
        """How long ago the machine was started, seconds."""
        self.suspended = 0.0
        """How long the machine has slept, seconds: boot clocks count it, monotonic ones do not."""
        self._heap: list[tuple[float, int, Process | None, Any, bool]] = []
        self._order = itertools.count()
        self._story = hashlib.sha256()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    def at(self, when: float, what: Callable[..., object], *args: object) -> None:
        """Have the world itself do something."""
        heapq.heappush(self._heap, (when, next(self._order), None, (what, args), False))

    def after(self, seconds: float, what: Callable[..., object], *args: object) -> None:
        self.at(self.now + seconds, what, *args)

    def push(self, when: float, process: Process, handle: asyncio.Handle, *, main: bool = False) -> None:
        """Have a process do something; `main`: in its main thread, which holds the interpreter when it is held."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), process, handle, main))

    def push_again(self, order: int, process: Process, handle: asyncio.Handle, *, main: bool) -> None:
        """Have a process do now what it should have done before."""
        heapq.heappush(self._heap, (self.now, order, process, handle, main))

    def run(self, until: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, order, process, what, main = heapq.heappop(heap)
            self.now = when
            if process is None:
                what[0](*what[1])
            elif not process.alive or what._cancelled:
                continue
            elif process.stopped or ((process.held or process.interrupted) and not main):
                process.missed.append((order, what, main))
            else:
                self.step(process, what)
        self.now = max(self.now, until)

    def interrupt(self, seconds: float) -> None:
        """The current thread loses its turn: all else goes on, the other thread of its process too."""
        process, loop = self.current, asyncio._get_running_loop()
        assert process is not None
        main, process.in_main_thread = process.in_main_thread, False
        process.interrupted = not main
        asyncio._set_running_loop(None)
        self.current = None
        self.run(self.now + seconds)
        while process.stopped and process.alive:
            self.run(self.now + 0.01)
        if not process.alive:
            raise Killed
        self.current = process
        process.in_main_thread = main
        asyncio._set_running_loop(loop)
        if not main:
            process.interrupted = False
            process.catch_up()

    def step(self, process: Process, handle: asyncio.Handle) -> None:
        self.current = process
        asyncio._set_running_loop(process.loop)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)
            self.current = None
        if self.violation is not None:
            raise self.violation

    def fail(self, what: str) -> None:
        """Something happened that must not, whoever may catch the error that says so."""
        self.violation = self.violation or Violation(what)
        raise self.violation

    def end(self) -> None:
        """Nothing more will happen."""
        for process in self.processes:
            process.forget_tasks()
            process.alive = False

    def tell(self, *what: object) -> None:
        """Write one line of the story, by which two runs of a seed are compared."""
        line = f"{self.now:.6f} {self.current.name if self.current else '-'} {' '.join(map(str, what))}"
        self._story.update(line.encode() + b"\n")
        self._lines.append(line)

    @property
    def story(self) -> str:
        return self._story.hexdigest()

    @property
    def lines(self) -> list[str]:
        return list(self._lines)


class Process:
    """One simulated process: a loop, clocks, descriptors."""

    def __init__(self, world: World, name: str, pid: int) -> None:
        self.world, self.name, self.pid = world, name, pid
        self.alive = True
        self.stopped = False
        """As by SIGSTOP."""
        self.held = False
        """Its node keeps the interpreter: only the main thread goes on."""
        self.interrupted = False
        """Its event loop waits for its turn."""
        self.in_main_thread = False
        """Whether what runs now runs in its main thread and holds no lock."""
        self.missed: list[tuple[int, asyncio.Handle, bool]] = []
        self.rate = 1 + world.rng.uniform(-5e-4, 5e-4)
        self._skew = world.rng.uniform(10, 1e6)
        self.loop = VirtualLoop(self)
        self.sockets: list[Any] = []
        self.on_exit: list[Callable[[], object]] = []
        world.processes.append(self)

    def now(self) -> float:
        return self._skew + self.world.now * self.rate

    def boot_ms(self) -> int:
        """All processes of a host read one clock here."""
        return int((self.world.boot + self.world.now + self.world.suspended) * 1000)

    def when(self, local: float) -> float:
        """The world's time at one of `now`."""
        return (local - self._skew) / self.rate

    def post(self, what: Callable[..., object], *args: object) -> None:
        """Have its loop do something as soon as it can."""
        self.loop.call_soon(what, *args)

    def post_main(self, after: float, what: Callable[..., object], *args: object) -> None:
        self.world.push(self.world.now + after, self, asyncio.Handle(what, args, self.loop), main=True)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.post(self._spawn, coroutine)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.loop.create_task(coroutine)

    def stop(self) -> None:
        self.stopped = True

    def hold(self) -> None:
        self.held = True

    def go_on(self, *, held: bool = False) -> None:
        """End a stop, or the hold of the interpreter."""
        if held:
            self.held = False
        else:
            self.stopped = False
        self.catch_up()

    def catch_up(self) -> None:
        """What could not be done meanwhile is tried again."""
        missed, self.missed = self.missed, []
        for order, handle, main in missed:  # in their old order, and before all that comes now
            self.world.push_again(order, self, handle, main=main)

    def forget_tasks(self) -> None:
        """Nobody is to complain that they never ended."""
        for task in asyncio.tasks.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def exit(self, how: str) -> None:
        """It is no more, whatever it was doing."""
        if self.alive:
            self.world.tell("exit", self.name, how)
            self.alive = False
            self.missed.clear()
            self.forget_tasks()
            for end in list(self.sockets):
                end.owner_died()
            for tell in self.on_exit:
                tell()


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio, anyio and the code under test ask of a loop, and nothing more."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world
        self._readers: dict[int, tuple[Callable[..., object], tuple[object, ...]]] = {}

    def time(self) -> float:
        return self._process.now()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._world.push(self._world.now, self._process, handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._world.push(self._process.when(when), self._process, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._process.alive:
            error = context.get("exception")
            self._world.fail(f"{self._process.name}: {context['message']}: {error!r}")

    # -- descriptors

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        self._readers[fd] = (callback, args)
        self.readable(fd)

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError  # a lifeline takes everything

    def remove_writer(self, fd: Any) -> bool:  # noqa: ARG002 - asyncio's names
        return False

    def readable(self, fd: int) -> None:
        if fd in self._readers:
            self.call_soon(self._read, fd)

    def _read(self, fd: int) -> None:
        if fd in self._readers and self._world.network.has_something(fd):
            callback, args = self._readers[fd]
            callback(*args)
            self.readable(fd)

    # -- connections

    async def create_connection(self, protocol_factory: Any, *address: Any, **_: Any) -> Any:  # type: ignore[override]
        return await self._world.network.connect(self._process, protocol_factory, address[1])

    async def create_server(self, protocol_factory: Any, *address: Any, **_: Any) -> Any:  # type: ignore[override]
        return self._world.network.listen(self._process, protocol_factory, address[1])
