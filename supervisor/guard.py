"""A guard: the process that holds one program of a command group, and ends it with all that came of it.

A program knows no lifeline, and it may start others, which the kernel would not end with the supervisor. The guard is a
child like any other: it hardens itself, is told what to run, says when that is ready, and ends as it ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import NoReturn

from shunter import check_ownership


def main() -> NoReturn:
    """Hold a program until it has ended, and end in the same way."""
    check_ownership()
    from ipc import limits  # noqa: PLC0415 - only once it is known to be ours
    from ipc.hardening import at_parents_death  # noqa: PLC0415 - as above
    from ipc.messages.lifeline import Run  # noqa: PLC0415 - as above
    from ipc.names import parse_worker  # noqa: PLC0415 - as above
    from ipc.parent import Parent  # noqa: PLC0415 - as above
    from supervisor.hold import Unable, hold  # noqa: PLC0415 - as above

    parent, _, termination = Parent.enter(sys.argv[1:])
    told = parent.first(Run)
    # To be killed with the supervisor would leave the program's children behind. To wake is enough: the lifeline ends.
    at_parents_death(signal.SIGCONT)
    try:
        limits.apply(told.settings, parse_worker(told.name).slot)
        status = asyncio.run(hold(parent, told, termination))
    except (limits.Refused, Unable) as error:
        parent.give_up(error)
    _leave_as(status)


def _leave_as(status: int) -> NoReturn:
    """End as the program did, so that its end is told in the words for it."""
    if os.WIFSIGNALED(status):
        what = os.WTERMSIG(status)
        if what not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(what, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {what})
        os.kill(os.getpid(), what)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
