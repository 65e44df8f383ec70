"""Runs the process that imports the application: nothing that holds a key ever does.

It is asked once and bounded in everything: time, the size of its answer, what is kept of what it prints.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING

import msgspec

from ipc.contract import decode, encode_request
from ipc.messages.lifeline import MAX_MESSAGE
from supervisor.environment import without_us
from supervisor.errors import ConfigError, SpawnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ipc.contract import Describe, Described
    from supervisor.users import Identity

TIME_LIMIT = 120.0
"""How long importing an application may take, seconds."""
DUMP_TIME = 2.0
"""How long a process that took too long may take to tell where it stands, seconds."""
MAX_DESCRIPTION = MAX_MESSAGE // 2
"""The longest description, bytes: with what else a worker is told it has to fit into one message."""
MAX_OUTPUT = 64 * 1024
"""How much of the end of what it prints is kept, bytes."""
LAST_LINES = 20
"""How many lines of that a fault shows."""
GLANCE = 0.2
"""How often it is looked whether anybody still waits for the answer, seconds."""

AT_WORK: set[int] = set()
"""Processes that describe an application now: whoever started one reaps it, and nobody else."""
GIVEN_UP: ContextVar[Callable[[], bool]] = ContextVar("GIVEN_UP")
"""Whether whoever asks here, perhaps from another thread, waits for no answer any more."""
COMMAND = (sys.executable, "-P", "-X", "faulthandler", "-m", "exec_worker.describe")
_CHUNK = 64 * 1024
_NOISE = ("<frozen ", "Extension modules: ")


def describe(
    request: Describe,
    environ: Mapping[str, str],
    *,
    identity: Identity | None = None,
    time_limit: float = TIME_LIMIT,
    command: Sequence[str] = COMMAND,
    meanwhile: Callable[[], object] | None = None,
) -> Described:
    """What the application consists of, as a process with the environment `environ` finds it.

    What is wrong with the application stands in the description's faults; ConfigError if there is no description.
    It becomes `identity` before it imports anything. `meanwhile` is called once it runs.
    """
    if identity is not None:
        command = [*command, "--uid", str(identity.uid), "--gid", str(identity.gid)]
        environ = without_us(environ, os.environ)
    with _started(command, request, environ) as run:
        if meanwhile is not None:
            meanwhile()
        if not run.listen(time_limit):
            run.process.send_signal(signal.SIGABRT)  # faulthandler: it prints its stack, and ends
            run.listen(DUMP_TIME)
            raise ConfigError(
                f"importing the application took longer than {time_limit:g} s",
                hint="a module should do its work when it is called, not when it is imported",
                detail=run.last_lines(),
            )
        if len(run.answer) > MAX_DESCRIPTION:
            raise ConfigError(f"the application's description is larger than {MAX_DESCRIPTION} bytes")
    try:
        return decode(bytes(run.answer))
    except msgspec.DecodeError:
        ended = _ending(run.process.returncode)
        raise ConfigError(
            f"the process that imports the application {ended} without an answer",
            hint="" if run.output else "it printed nothing",
            detail=run.last_lines(),
        ) from None


class _Run:
    """One such process: what it answers, the end of what it prints."""

    def __init__(self, process: subprocess.Popen[bytes], answer: IO[bytes], output: IO[bytes]) -> None:
        self.process = process
        self.answer = bytearray()
        self.output = bytearray()
        self._answer = answer
        self._output = output

    def listen(self, seconds: float) -> bool:
        """Read until it has ended; False if it has not by then. Stops early at an answer that is too long.

        SpawnError if whoever asked gives up.
        """
        end = time.monotonic() + seconds
        given_up = GIVEN_UP.get(lambda: False)
        # Its end, not that of its pipes: a grandchild may keep those open for as long as it likes.
        ended = os.pidfd_open(self.process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(ended, selectors.EVENT_READ)
                for file in (self._answer, self._output):
                    selector.register(file, selectors.EVENT_READ)
                while len(self.answer) <= MAX_DESCRIPTION:
                    if given_up():
                        raise SpawnError("nobody waits for the application's description any more")
                    if (left := end - time.monotonic()) <= 0:
                        return False
                    ready = [key.fileobj for key, _ in selector.select(min(left, GLANCE))]
                    for file in (self._answer, self._output):
                        if file in ready and not self._take(file):
                            selector.unregister(file)
                    if ended in ready and len(ready) == 1:  # and all that it left behind has been read
                        return True
                return True
        finally:
            os.close(ended)

    def _take(self, file: IO[bytes]) -> bool:
        data = file.read(_CHUNK)
        if file is self._answer:
            self.answer += data
        else:
            self.output += data
            del self.output[:-MAX_OUTPUT]
        return bool(data)

    def last_lines(self) -> str:
        """The end of what it printed, without the frames of the import machinery."""
        lines = self.output.decode(errors="replace").splitlines()
        said = [line for line in lines if line.strip() and not any(noise in line for noise in _NOISE)]
        return "\n".join(said[-LAST_LINES:])


@contextlib.contextmanager
def _started(command: Sequence[str], request: Describe, environ: Mapping[str, str]) -> Iterator[_Run]:
    """The process, started; afterwards nothing is left of it or of what it has started."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    # No pipe: a request of any size is there at once, and nobody waits for anybody to read it. Nor a file on a disk:
    # there may be none that can be written.
    memory = os.memfd_create("shunter-request", os.MFD_CLOEXEC)
    with os.fdopen(ours, "rb", buffering=0) as answer, os.fdopen(memory, "w+b") as asked:
        asked.write(encode_request(request))
        asked.seek(0)
        argv = [*command, "--fd", str(theirs), "--parent", str(os.getpid())]
        try:
            process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
                argv,
                bufsize=0,
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as error:
            raise SpawnError(f"cannot start {argv[0]}: {error.strerror}", argv=argv) from None
        finally:
            os.close(theirs)
        AT_WORK.add(process.pid)
        output = process.stdout
        assert output is not None  # noqa: S101 -- for the type checker: it is a pipe
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # What it does when it is made to stop is to show its stack, not to leave a core.
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        try:
            yield _Run(process, answer, output)
        finally:
            # Before it is waited for: until then its number, which is also its group's, is nobody else's.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            AT_WORK.discard(process.pid)
            output.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
