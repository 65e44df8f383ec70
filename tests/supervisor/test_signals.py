"""What a hangup means: with a terminal that is gone a stop, else a reload; and what a second signal does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.signals import BOUNCE, Insistence

ROOT = Path(__file__).parents[2]
LISTENS = """
import asyncio, os, sys
from supervisor.signals import heard

async def main():
    over = asyncio.Event()
    def say(what):
        os.write(int(sys.argv[1]), what.encode() + b"\\n")
    def stop(force):
        say("stop")
        over.set()
    with heard(stop, lambda: say("reload"), lambda: None, last=True):
        say("ready")
        await asyncio.wait_for(over.wait(), 60)

asyncio.run(main())
"""


@pytest.mark.parametrize("controlling", [True, False])
def test_a_hangup_reloads_while_there_is_a_terminal_and_stops_when_it_is_gone(*, controlling: bool) -> None:
    ours, theirs = pty.openpty()
    told, says = os.pipe()
    # As a shell starts it; or with a terminal that is not its own.
    acquire = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" if controlling else ""
    process = subprocess.Popen(
        [sys.executable, "-c", acquire + LISTENS, str(says)],
        stdin=theirs,
        pass_fds=[says],
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(theirs)
    os.close(says)
    try:
        with os.fdopen(told) as heard:
            assert heard.readline() == "ready\n"
            process.send_signal(signal.SIGHUP)
            assert heard.readline() == "reload\n"
            os.close(ours)  # the kernel sends SIGHUP itself to whoever has the terminal for its own
            if not controlling:
                process.send_signal(signal.SIGHUP)
            assert heard.readline() == "stop\n"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_hangup_without_any_terminal_reloads() -> None:
    told, says = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS, str(says)], stdin=subprocess.DEVNULL, pass_fds=[says], cwd=ROOT
    )
    os.close(says)
    with os.fdopen(told) as heard:
        assert heard.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert heard.readline() == "reload\n"
        process.send_signal(signal.SIGTERM)
        assert heard.readline() == "stop\n"
    assert process.wait(30) == 0


def test_a_signal_that_comes_again_at_once_is_an_echo_and_one_that_comes_later_or_is_another_insists() -> None:
    for again, after, insists in (
        (signal.SIGINT, 0.0, False),
        (signal.SIGINT, BOUNCE / 2, False),
        (signal.SIGINT, 2 * BOUNCE, True),
        (signal.SIGTERM, 0.0, True),
    ):
        insistence = Insistence()
        assert not insistence.is_second(signal.SIGINT, 50.0)
        assert insistence.is_second(again, 50.0 + after) is insists
