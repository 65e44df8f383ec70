"""The span in which a thread executes a node's code: the only one in which that thread may be interrupted.

A request to interrupt names its call. It is noted with the call first and delivered second; the thread opens its window
first and looks for a note second: one of the two always sees the other. It is delivered once, to that call, or never: a
call that ends while the request is on its way keeps its result, and neither the engine nor the next call notices.

The main thread is sent a signal, which ends what waits in the kernel too (`time.sleep`, `recv`). Any other thread can
only be handed an exception that it raises with its next bytecode: what waits there goes on waiting. C code that never
comes back to the interpreter feels neither; it is the supervisor's affair.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeVar

from exec_worker.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

A = TypeVar("A")
R = TypeVar("R")

INTERRUPT = signal.SIGRTMIN + 7
"""The signal. A real-time one, which nobody sends by accident and few programs use."""


class Interruptible(Protocol):
    """What a window knows of a call."""

    interrupt: type[Interrupted] | None
    """What is to be raised in its node, or was: once."""


class Window:
    """One for a thread that nobody can interrupt: only what was noted before the node begins is raised."""

    __slots__ = ("_call", "_thread")

    def __init__(self) -> None:
        self._thread = 0
        self._call: Interruptible | None = None

    def enter(self) -> None:
        """Belong to the thread that calls this."""
        self._thread = threading.get_ident()

    def run(self, call: Interruptible, function: Callable[[A], R], argument: A) -> R:
        """What the function gives or raises, or `call.interrupt`. In the window's own thread."""
        if call.interrupt is not None:
            raise call.interrupt
        return function(argument)

    def wake(self, call: Interruptible) -> None:
        """Have what was just noted with `call` raised in it, if it runs here. From any thread."""


class SignalWindow(Window):
    """The main thread's. There is one in a process at most."""

    __slots__ = ()

    def enter(self) -> None:
        """Belong to the main thread, which calls this."""
        super().enter()
        signal.signal(INTERRUPT, self._deliver)

    def run(self, call: Interruptible, function: Callable[[A], R], argument: A) -> R:
        """See above. No lock: the handler runs in this thread too, and shuts the window before it raises."""
        try:
            self._call = call
            if call.interrupt is not None:
                raise call.interrupt
            return function(argument)
        finally:
            self._call = None

    def wake(self, call: Interruptible) -> None:
        """See above. A thread that has its window shut is not woken."""
        if self._call is call:
            signal.pthread_kill(self._thread, INTERRUPT)

    def _deliver(self, _signal: int, _frame: FrameType | None) -> None:
        call = self._call
        if call is not None and call.interrupt is not None:
            self._call = None  # whatever runs from here on, a `finally` of ours or the node's, is not interrupted again
            raise call.interrupt


class ThreadWindow(Window):
    """That of any other thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()

    def run(self, call: Interruptible, function: Callable[[A], R], argument: A) -> R:
        """See above."""
        try:
            try:
                with self._lock:
                    if call.interrupt is not None:
                        raise call.interrupt
                    self._call = call
                return function(argument)
            finally:
                self._shut(call)
        except Interrupted:
            # It may have come just while the window was being shut. There is one for each call: none is left now.
            self._shut(call)
            raise

    def wake(self, call: Interruptible) -> None:
        """See above. The lock: the window is still that of the same call when the exception is set."""
        with self._lock:
            if self._call is call:
                _set_exception(self._thread, call.interrupt)

    def _shut(self, call: Interruptible) -> None:
        with self._lock:
            self._call = None
        if call.interrupt is not None:  # set, and perhaps not raised yet: after the node is too late
            _set_exception(self._thread, None)


def _set_exception(thread: int, error: type[Interrupted] | None) -> None:
    """What `thread` raises next; None takes it back. The thread cannot run meanwhile: this holds the interpreter."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)
