"""An interrupt that is asked for while a lane just comes to its call."""

from __future__ import annotations

import threading
import time

import pytest

from exec_worker.asked import AskedCall
from exec_worker.interrupts import CallCancelled, DeadlineExceeded, Interrupted
from exec_worker.lane import Lanes
from exec_worker.window import ThreadWindow, Window
from ipc.clock import now
from ipc.ledger import Ledger
from ipc.messages.calls import RequestMeta

PATIENCE = 30.0


class Preempted(AskedCall):
    """Whoever reads its window and sees none does not go on before its node runs."""

    @property
    def window(self) -> Window | None:  # type: ignore[override]
        seen = AskedCall.window.__get__(self)
        if threading.current_thread().name == "io" and seen is None:
            looked.set()
            begun.wait(PATIENCE)
        return seen  # type: ignore[no-any-return]

    @window.setter
    def window(self, window: Window) -> None:
        AskedCall.window.__set__(self, window)


looked, begun = threading.Event(), threading.Event()


def test_an_interrupt_is_not_lost_on_a_call_that_a_lane_comes_to_just_then() -> None:
    meta = RequestMeta("shop.render", "r", "t", "web-0#1")
    call = Preempted(None, b"x" * 16, meta, b"", 0.0, 0.0, False)  # type: ignore[arg-type]
    lanes = Lanes(None, Ledger(-1), 0.25, main=False)  # type: ignore[arg-type]
    window = ThreadWindow()
    window.enter()

    def node(_: None) -> str:
        begun.set()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        return "went on"

    io = threading.Thread(target=lanes.expire, args=(call,), name="io")
    io.start()
    looked.wait(PATIENCE)
    call.window = window
    try:
        with pytest.raises(DeadlineExceeded):
            window.run(call, node, None)
    finally:
        begun.set()
        io.join()
        lanes.ledger.close()


@pytest.mark.parametrize(("left", "told"), [(60.0, CallCancelled), (0.0, DeadlineExceeded), (-5.0, DeadlineExceeded)])
def test_who_leaves_because_the_time_is_over_is_not_told_apart_from_the_deadline(
    left: float, told: type[Interrupted]
) -> None:
    """The origin says at the deadline that nobody waits, and may be heard before the clock is looked at."""
    meta = RequestMeta("shop.render", "r", "t", "web-0#1")
    call = AskedCall(None, b"x" * 16, meta, b"", now() + left, now(), False, 0.1)  # type: ignore[arg-type]
    lanes = Lanes(None, Ledger(-1), 0.25, main=False)  # type: ignore[arg-type]
    try:
        lanes.leave(call)
        lanes.expire(call)
    finally:
        lanes.ledger.close()
    assert call.interrupt is told
