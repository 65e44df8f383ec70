"""Signals as orders: the first SIGTERM or SIGINT drains, a second one ends everything at once."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.early import Early

BOUNCE = 0.1
"""A signal that comes again so soon was sent once, by somebody in a hurry to everybody: wrappers pass on what the
terminal has sent already."""


class Insistence:
    """Tells a second request to stop from an echo of the first."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def is_second(self, signum: int, now: float) -> bool:
        """Whether somebody insists; to be asked once for each signal."""
        if self._first is None:
            self._first = signum, now
            return False
        first, then = self._first
        return signum != first or now - then > BOUNCE


_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def heard(
    on_stop: Callable[[bool], None],
    on_reload: Callable[[], None],
    on_child: Callable[[], None],
    *,
    last: bool,
    early: Early | None = None,
) -> Iterator[None]:
    """Call `on_stop(force)` for each request to stop, and `on_child` when any process of ours has ended.

    SIGHUP asks for the configuration to be read again, unless the terminal is gone that this was started at.
    What was asked for `early` is met first. With `last` this process ends afterwards: requests that come late are
    ignored, and do not change its exit code.
    """
    loop = asyncio.get_running_loop()
    insistence = Insistence()
    terminal = _terminal()  # asked now: when it has gone it is none any more

    def stop(signum: int) -> None:
        on_stop(insistence.is_second(signum, loop.time()))

    def hang_up() -> None:
        if any(before and not now for before, now in zip(terminal, _terminal(), strict=True)):
            stop(signal.SIGHUP)
        else:
            on_reload()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signum)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    loop.add_signal_handler(signal.SIGCHLD, on_child)
    if early is not None and early.asked:
        stop(early.asked)
    on_child()  # there may be some who ended before
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # or one would hit between two handlers
        for signum in _STOPPING:
            loop.remove_signal_handler(signum)
            if last:
                signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


def _terminal() -> tuple[bool, bool]:
    """Whether there is a terminal, and whether it is this process's own: one that was hung up is neither."""
    try:
        return os.isatty(0), os.tcgetpgrp(0) >= 0
    except OSError:
        return os.isatty(0), False
