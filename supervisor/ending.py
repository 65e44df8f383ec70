"""How a process ended, and what that usually means, in words for people. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Starved: TypeAlias = Literal["", "probably", "surely"]
"""Whether the kernel ended it for want of memory."""

FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGXCPU}
)
"""Signals that a process brings upon itself."""
LEFT = "left in good order without being told to by Shunter, as after a SIGTERM from somebody else"
_NOT_OURS = "somebody else sent it; Shunter sends none"
_USUALLY: Mapping[int, str] = {
    signal.SIGSEGV: "it used memory that is not its own; usually a fault in compiled code",
    signal.SIGBUS: "a mapped file or shared memory ended too early; usually a full disk or a file cut short",
    signal.SIGABRT: "it gave up by itself; usually a library that found something impossible",
    signal.SIGILL: "an instruction this processor does not know; usually a package built for another one",
    signal.SIGFPE: "an impossible calculation in compiled code",
    signal.SIGSYS: "it asked the kernel for what it may not",
    signal.SIGXCPU: "its limit of processor time is used up",
    signal.SIGXFSZ: "it wrote more into a file than it may",
    signal.SIGPIPE: "nobody read what it wrote any more",
    signal.SIGKILL: "not by Shunter: somebody else did, or the kernel",
    signal.SIGTERM: _NOT_OURS,
    signal.SIGINT: _NOT_OURS,
    signal.SIGHUP: _NOT_OURS,
}
_CODES: Mapping[int, str] = {
    126: "which a shell says if a command may not be run",
    127: "which a shell says if there is no such command",
}
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one process, as the kernel tells it."""

    code: int
    """What it exited with, or the number of the signal that ended it, below zero."""
    dumped: bool = False
    """Whether it left a core file."""
    ours: bool = False
    """Whether it was killed by its supervisor."""
    starved: Starved = ""
    told: int = 0
    """The signal by which it had been told to end; 0 if it had not, or in another way."""
    late: float = 0.0
    """The time it had for that, if it was over; seconds."""

    @property
    def crashed(self) -> bool:
        """Whether it ended by its own doing, and not by a signal somebody sent."""
        return self.code >= 0 or -self.code in FAULTS or self.starved != ""

    def __str__(self) -> str:
        if self.code >= 0:
            means = _CODES.get(self.code) or _as_a_shell(self.code)
            return f"exited with code {self.code}" + (f" ({means})" if means else "")
        if self.told == -self.code:
            return f"ended by {_name(self.told)}, as told" + ", core dumped" * self.dumped
        if self.told and self.late and self.code == -signal.SIGKILL and not self.starved:
            return f"killed: had not ended in {self.late:g} s after {_name(self.told)}"
        means = "" if self.ours else _USUALLY.get(-self.code, "")
        if self.starved:
            means = "out of memory" if self.starved == "surely" else "probably out of memory"
        return f"killed by {_name(-self.code)}" + f" ({means})" * bool(means) + ", core dumped" * self.dumped


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _as_a_shell(code: int) -> str:
    number = code - _SIGNALLED
    known = number > 0 and any(number == each.value for each in signal.Signals)
    return f"which a shell says for {_name(number)}" if known else ""
