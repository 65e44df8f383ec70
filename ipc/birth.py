"""How a worker is born of a template: the order with what belongs to it, two forks, and its adoption.

The supervisor asks to be the parent of what its children leave behind. So a template forks a process that forks the
worker and ends at once: the worker is the supervisor's child from then on, as if the supervisor had started it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ipc.errors import BadMessage
from ipc.hardening import Orphaned
from ipc.messages.lifeline import Fork, encode

if TYPE_CHECKING:
    from collections.abc import Callable

ADOPTION = 10.0
"""How long a worker waits for the process between to end, seconds; it takes well under a millisecond."""
_GLANCE = 0.0002
_ORDER = encode(Fork())
_DESCRIPTORS = struct.Struct("4i")


class Belongings(NamedTuple):
    """The descriptors of one worker that is to be born."""

    lifeline: int
    page: int
    stdout: int
    stderr: int


def hand_over(lifeline: socket.socket, belongings: Belongings) -> bool:
    """Order a worker that has these descriptors. Never waits; False if the template cannot be told."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTORS.pack(*belongings))]
    try:  # not `send_fds`, which ignores its flags
        return lifeline.sendmsg([_ORDER], rights, socket.MSG_DONTWAIT) == len(_ORDER)
    except OSError:
        return False


def wait_for_order(lifeline: socket.socket) -> Belongings:
    """What belongs to the next worker. Raises Orphaned if the supervisor is gone, BadMessage for anything else.

    The kernel never gives what comes with two messages at once: of those that wait, no descriptor is here yet.
    """
    try:
        said, carried, _flags, _address = lifeline.recvmsg(
            len(_ORDER), socket.CMSG_SPACE(_DESCRIPTORS.size), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        raise Orphaned from None
    if not said:
        raise Orphaned
    for level, kind, found in carried:
        if (level, kind, len(found), said) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTORS.size, _ORDER):
            return Belongings(*_DESCRIPTORS.unpack(found))
    raise BadMessage("the supervisor said something to a template that is no order to fork")


def fork_twice(adopted: Callable[[int], None]) -> bool:
    """Fork a worker: False here, and True in it, when `adopted` has returned there.

    `adopted` is given the pid of the process between, and waits for another parent.
    """
    if (between := os.fork()) != 0:
        with suppress(ChildProcessError):  # the application has asked for no zombies
            os.waitpid(between, 0)
        return False
    between = os.getpid()
    try:
        if os.fork() != 0:
            os._exit(0)
    except OSError:  # no more processes: the supervisor sees the worker's lifeline close
        os._exit(1)
    adopted(between)
    return True


def wait_for_adoption(between: int) -> None:
    """Return when `between` is the parent no more. Who is now is to be looked at when the death signal is armed.

    Before, arming it would be wrong: the kernel sends it at the change of parents too.
    """
    until = time.monotonic() + ADOPTION
    while os.getppid() == between:
        if time.monotonic() > until:
            raise Orphaned
        time.sleep(_GLANCE)


def move_in(belongings: Belongings) -> None:
    """Lead a session, and have the standard streams that were made for this process."""
    os.setsid()
    for given, standard in ((belongings.stdout, 1), (belongings.stderr, 2)):
        os.dup2(given, standard)
        os.close(given)
