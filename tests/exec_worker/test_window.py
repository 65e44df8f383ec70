"""Nothing but the node of the call that is meant is ever interrupted, at whatever moment the request comes."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from exec_worker.interrupts import CallCancelled, DeadlineExceeded, Interrupted
from exec_worker.window import INTERRUPT, SignalWindow, ThreadWindow, Window, _set_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Call:
    def __init__(self) -> None:
        self.interrupt: type[Interrupted] | None = None


def interrupt(window: Window, call: Call, error: type[Interrupted]) -> None:
    """What lanes do to a call whose window they know."""
    if call.interrupt is None:
        call.interrupt = error
        window.wake(call)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before, interval = signal.getsignal(INTERRUPT), sys.getswitchinterval()
    yield
    signal.signal(INTERRUPT, before)
    sys.setswitchinterval(interval)


@pytest.fixture(params=["main", "thread"])
def within(request: pytest.FixtureRequest) -> Callable[[Callable[[Window], Any]], Any]:
    """Runs something with a window of its own: in the main thread, or in another."""

    def in_main(what: Callable[[Window], Any]) -> Any:
        window = SignalWindow()
        window.enter()
        return what(window)

    def in_another(what: Callable[[Window], Any]) -> Any:
        results: list[Any] = []
        window = ThreadWindow()

        def run() -> None:
            window.enter()
            try:
                results.append(what(window))
            except BaseException as error:  # noqa: BLE001 - it is told below
                results.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return in_main if request.param == "main" else in_another


def spin(seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "done"


def test_an_interrupt_is_no_exception() -> None:
    assert not issubclass(Interrupted, Exception)
    for kind in (DeadlineExceeded, CallCancelled):
        assert issubclass(kind, Interrupted)
        assert "nobody waits" in str(kind())


def test_a_node_is_interrupted_once(within: Any) -> None:
    def what(window: Window) -> list[str]:
        call, seen = Call(), []

        def node(_: None) -> str:
            for _ in range(2):
                try:
                    spin(0.2)
                except Interrupted as error:
                    seen.append(type(error).__name__)
            return "went on"

        timers = [
            threading.Timer(0.03, interrupt, (window, call, CallCancelled)),
            threading.Timer(0.1, interrupt, (window, call, DeadlineExceeded)),
        ]
        for timer in timers:
            timer.start()
        seen.append(window.run(call, node, None))
        for timer in timers:
            timer.join()
        return seen

    assert within(what) == ["CallCancelled", "went on"]


def test_what_was_asked_before_the_node_began_is_seen(within: Any) -> None:
    def what(window: Window) -> None:
        call = Call()
        interrupt(window, call, DeadlineExceeded)
        with pytest.raises(DeadlineExceeded):
            window.run(call, pytest.fail, "it was run")  # type: ignore[arg-type]
        assert window.run(Call(), str, 5) == "5"

    within(what)


def test_another_call_is_left_alone(within: Any) -> None:
    def what(window: Window) -> str:
        timer = threading.Timer(0.02, interrupt, (window, Call(), DeadlineExceeded))
        timer.start()
        said = window.run(Call(), spin, 0.06)
        timer.join()
        return said

    assert within(what) == "done"


def test_what_comes_after_the_node_is_not_noticed(within: Any) -> None:
    def what(window: Window) -> None:
        call = Call()
        assert window.run(call, str, 1) == "1"
        interrupt(window, call, DeadlineExceeded)
        spin(0.02)

    within(what)


def test_the_main_thread_is_woken_from_its_sleep() -> None:
    window, call = SignalWindow(), Call()
    window.enter()
    timer = threading.Timer(0.05, interrupt, (window, call, DeadlineExceeded))
    timer.start()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        window.run(call, time.sleep, 60.0)
    assert time.monotonic() - began < 30
    timer.join()


def test_the_signal_alone_says_nothing() -> None:
    """It may come late, or twice, or from somebody else: what counts is what is noted with the call that runs."""
    window, call, seen = SignalWindow(), Call(), []
    window.enter()

    def node(_: None) -> str:
        signal.raise_signal(INTERRUPT)
        try:
            interrupt(window, call, DeadlineExceeded)
            spin(1)
        except DeadlineExceeded:
            signal.raise_signal(INTERRUPT)
            seen.append("once")
        return "went on"

    assert window.run(call, node, None) == "went on"
    assert seen == ["once"]
    signal.raise_signal(INTERRUPT)
    assert window.run(Call(), lambda _: signal.raise_signal(INTERRUPT), None) is None


def test_an_exception_that_comes_while_the_window_is_shut_goes_no_further() -> None:
    """The node has returned; its thread waits to shut the window, and the exception is set before it can."""
    window, call, seen = ThreadWindow(), Call(), []
    window._lock = lock = threading.Lock()
    waits = threading.Event()

    def run() -> None:
        window.enter()
        try:
            seen.append(window.run(call, node, None))
        except Interrupted as error:
            seen.append(type(error))
        spin(0.01)
        seen.append(window.run(Call(), spin, 0.01))

    def node(_: None) -> None:
        lock.acquire()  # as if somebody was about to interrupt it
        waits.set()

    thread = threading.Thread(target=run)
    thread.start()
    waits.wait()
    time.sleep(0.02)
    call.interrupt = DeadlineExceeded
    _set_exception(thread.ident, DeadlineExceeded)  # type: ignore[arg-type]
    lock.release()
    thread.join()
    assert seen in ([None, "done"], [DeadlineExceeded, "done"])


def test_requests_at_any_moment_hit_the_node_they_are_for_or_nobody(within: Any) -> None:
    """Short calls, and somebody else asks for an interrupt of one of them at random: early, late, just between two."""
    rng = random.Random(7)
    sys.setswitchinterval(1e-5)

    def what(window: Window) -> dict[str, int]:
        seen = {"done": 0, "interrupted": 0}
        at_hand = [Call()]
        over = threading.Event()

        def harass() -> None:
            while not over.is_set():
                call = at_hand[0]
                over.wait(rng.choice([0.0, 1e-5, 1e-4]))
                interrupt(window, call, DeadlineExceeded)

        def node(turns: int) -> int:
            for _ in range(turns):
                pass
            return turns

        thread = threading.Thread(target=harass)
        thread.start()
        try:
            while min(seen.values()) < 300:
                call = at_hand[0] = Call()
                turns = rng.choice([0, 10, 1000, 10_000])
                try:
                    assert window.run(call, node, turns) == turns
                    seen["done"] += 1
                except Interrupted:
                    assert call.interrupt is DeadlineExceeded, "somebody else's"
                    seen["interrupted"] += 1
        finally:
            over.set()
            thread.join()
        return seen

    within(what)
