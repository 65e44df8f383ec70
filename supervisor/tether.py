"""What holds a process to its supervisor: its lifeline, its two pipes, and the descriptor that tells of its end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from supervisor.lifeline import Lifeline
from supervisor.output import Output

if TYPE_CHECKING:
    import asyncio

    from ipc.messages.lifeline import FromChild
    from supervisor.events import Stream
    from supervisor.output import Line
    from supervisor.process import Process


class Holder(Protocol):
    """Who is told what comes over the tether. All but `expects` say which process it came from."""

    def expects(self, process: Process) -> bool:
        """Whether a process that was ordered from a template may still come."""

    def met(self, process: Process) -> None:
        """It is known who it is."""

    def heard(self, process: Process, message: FromChild) -> None:
        """It said something."""

    def wrote(self, process: Process, stream: Stream, line: Line) -> None:
        """It wrote a line."""

    def lost(self, process: Process, why: str) -> None:
        """It can no longer be spoken to."""

    def exited(self, process: Process) -> None:
        """It has ended."""


class Tether:
    """One process, from when it is made or ordered until it is let go. One that was made is to be watched at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, process: Process, holder: Holder) -> None:
        self.process = process
        self._loop = loop
        self._holder = holder
        self.lifeline = Lifeline(
            loop,
            process.lifeline,
            process.pid,
            partial(holder.heard, process),
            partial(holder.lost, process),
            self._is_it,
        )
        self._outputs = (
            Output(loop, process.stdout, "stdout", partial(holder.wrote, process)),
            Output(loop, process.stderr, "stderr", partial(holder.wrote, process)),
        )

    def watch(self) -> None:
        """It is known who the process is: from now on `exited` tells of its end."""
        self._loop.add_reader(self.process.pidfd, self._holder.exited, self.process)
        self._holder.met(self.process)

    def kill(self) -> None:
        """End the process without asking; `exited` comes afterwards."""
        self.process.kill()
        if self.process.pid is None:  # nobody to kill, and no end to hear of
            self._loop.call_soon(self._holder.exited, self.process)

    def let_go(self) -> str:
        """The process has ended, or never was: hear the last of it, and reap it; how it ended."""
        if self.process.pid is not None:
            self._loop.remove_reader(self.process.pidfd)
        self.lifeline.close()  # the last it said comes before its end
        for output in self._outputs:
            output.finish()
        return self.process.end()

    def _is_it(self, pid: int) -> bool:
        """Whether process `pid`, the first to speak for one that was ordered from a template, is that one."""
        if not self._holder.expects(self.process) or not self.process.is_born_as(pid):
            return False
        self.watch()
        return True
