"""The configuration of one process group: every key with its meaning, its unit and its bounds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from supervisor.command import Readiness  # noqa: TC001 - read at run time
from supervisor.fields import (  # noqa: TC001 - as above
    Argument,
    Core,
    GroupName,
    Seconds,
    Size,
    Spread,
    Stage,
    StopSignal,
    Umask,
    UserName,
)
from supervisor.section import Section
from supervisor.variables import Environment

WEB = "web"
"""The name of the one group that speaks HTTP; it exists whether it is declared or not."""

MAX_WORKERS = 256
"""The most workers of one group."""
MiB = 1024 * 1024

Workers = Annotated[int, Meta(ge=1, le=MAX_WORKERS)]
_A_WAIT = "a time in milliseconds, more than 0 and at most 60000"

if TYPE_CHECKING:
    from supervisor.plan import Role


class WorkerLimits(Section, frozen=True):
    """`limits` of a group: what the kernel allows each of its workers, for good.

    Unless given, what it allows Shunter. They hold for whatever the worker starts, too, each process by itself.
    """

    address_space: Size | UnsetType = UNSET
    """Virtual memory, at least 256MiB: beyond it, memory is refused and the node has a MemoryError (RLIMIT_AS)."""
    open_files: Annotated[int, Meta(ge=64, le=1_048_576)] | UnsetType = UNSET
    """Descriptors, 64 to 1,048,576; a worker itself has about 20 and one for each web worker (RLIMIT_NOFILE)."""
    processes: Annotated[int, Meta(ge=16, le=1_048_576)] | UnsetType = UNSET
    """Processes and threads of the worker's *user*, all together, 16 to 1,048,576; no limit for root (RLIMIT_NPROC)."""
    file_size: Size | UnsetType = UNSET
    """The longest file it can write: beyond it, a write fails with OSError (RLIMIT_FSIZE)."""


class Restarts(Section, frozen=True):
    """`restart` of a group: what follows when one of its workers dies without having been told to.

    A worker that is killed because a call of its does not end, or dies while it runs one, is no crash in this sense:
    it is started again and nothing else follows.
    """

    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "one_for_one"
    """Who is started again: `one_for_one` the one that died; `one_for_all` all workers of the group; `rest_for_one`
    it and those with later seats. The others finish the calls they have, as long as `drain_timeout_seconds` allows."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    """After how many crashes in a row the next one is the last: then it waits for `shunter restart`; 1 to 1000."""
    stable_seconds: Seconds = 60.0
    """How long a worker must have been up for its crash to begin a new row, seconds."""
    backoff_seconds: Seconds = 0.1
    """How long it is waited after the first crash of a row; twice as long after each that follows, seconds."""
    backoff_max_seconds: Seconds = 30.0
    """How long it is waited at most, seconds; not less than `backoff_seconds`."""
    jitter: Annotated[float, Meta(ge=0, le=0.5, extra={"says": "a fraction from 0 to 0.5"})] = 0.2
    """By which fraction of itself a wait may be shorter or longer, so that not all start at once; 0 to 0.5."""


class WorkerRange(Section, frozen=True):
    """`workers` of a group whose number follows its load: as many as it takes for calls not to wait long.

    More as soon as waits are over the target, twice as many at most in one step; fewer one by one, once those that
    remain would still be far from busy. It starts with `min`.
    """

    max: Workers
    """The most there are ever to be; 1 to 256."""
    min: Workers = 1
    """The least there are ever to be; 1 to 256."""
    target_wait_ms: Annotated[float, Meta(gt=0, le=60_000, extra={"says": _A_WAIT})] = 50.0
    """How long nine of ten calls should wait for a worker at most, milliseconds; more than 0, at most 60,000."""


class ProcessGroup(Section, frozen=True):
    """An item of `runtime.platform.process_groups`: workers that are interchangeable."""

    name: GroupName
    """Its name; `web` is the group that speaks HTTP, all others run nodes or a `command`."""
    workers: Workers | WorkerRange = 1
    """How many processes; 1 to 256, or a mapping: as many as the load asks for."""
    stages: tuple[Stage, ...] = ()
    """The stages whose nodes it runs. One stage belongs to one group; `web` has none."""
    start_timeout_seconds: Seconds = 120.0
    """How long a worker may take from its start until it is ready, imports included, seconds."""
    drain_timeout_seconds: Seconds | UnsetType = UNSET
    """How long a worker may take to finish what it has, seconds; 30, or for `web` what `runtime.web` says."""
    hung_timeout_seconds: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    """How long a worker's event loop may stand still before the worker is killed, its stacks in the log, seconds; 1 to
    3600. A call that is within its deadline may keep an exec worker's loop waiting for as long as it takes."""
    kill_grace_seconds: Seconds = 0.25
    """How long after its deadline a call may go on before its worker is killed, seconds. Its caller is not waiting."""
    cancel_grace_seconds: Seconds = 0.1
    """The same for a call whose caller has left, seconds."""
    mode: Literal["sync", "async"] = "sync"
    """`sync`: plain functions, each call in a thread; `async`: `async def`, each call a task of one event loop.

    In an event loop a function that blocks keeps all others of its worker waiting; beyond its deadline it is killed,
    and they with it.
    """
    slots: Annotated[int, Meta(ge=1, le=256)] | UnsetType = UNSET
    """How many calls a worker runs at once, 1 to 256; one unless given, or 64 with `mode: async`.

    More than one is of use to plain functions that wait, or let other threads run while they compute (NumPy, Pillow,
    hashlib); and a worker that is ended by force takes all its calls with it.
    """
    preload: bool = False
    """Whether the application is imported once, in a process of its own that all workers are then forked from: a
    replacement is ready in a moment, and workers share memory. Imports must not start threads or connect anywhere."""
    restart: Restarts = Restarts()
    """What follows when a worker dies."""
    max_requests: Annotated[int, Meta(ge=1, le=1_000_000_000)] | UnsetType = UNSET
    """After so many requests (`web`) or calls a worker is replaced: its successor is ready before it drains.

    It is looked at once a second, so a busy worker will have answered some more.
    """
    max_requests_jitter: Annotated[float, Meta(ge=0, le=0.5, extra={"says": "a fraction from 0 to 0.5"})] = 0.1
    """By which fraction of `max_requests` a worker may be replaced earlier, so that not all are at once; 0 to 0.5."""
    max_memory: Size | UnsetType = UNSET
    """Beyond it a worker is replaced in the same way: bytes, or such as 512MiB; at least 64MiB.

    It is the memory that nobody has back before the worker ends: without files that are mapped, with what was swapped
    out.
    """
    max_memory_kill: Size | UnsetType = UNSET
    """Beyond it a worker is killed at once; a quarter more than `max_memory` unless given."""
    nice: Annotated[int, Meta(ge=0, le=19)] = 0
    """How far its workers stand back for other processes: the niceness that is added to Shunter's own, 0 to 19."""
    cpu_affinity: Annotated[tuple[Core, ...], Meta(min_length=1)] | Spread | UnsetType = UNSET
    """The processor cores its workers may run on, such as `[0, 1]`; `spread`: each has one, in turn."""
    limits: WorkerLimits = WorkerLimits()
    """What the kernel allows each worker."""
    user: UserName | UnsetType = UNSET
    """The user its workers become, by name or number, with that user's own group and no other; not root.

    Only a supervisor started as root can do that. Unless given, workers are the user who started it.
    """
    umask: Umask = "077"
    """What others may not do with files that workers make: three octal digits, as the shell has it."""
    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    """Instead of nodes: any program with its arguments, which stays in the foreground. One without a `/` is looked for
    in PATH; a relative path and its working directory are the configuration file's directory. It finds its number, from
    0, in `SHUNTER_SLOT`. Such groups start before all others, and stop after them."""
    ready: Readiness | UnsetType = UNSET
    """`command`: when a worker is up; without it, once it has run for half a second."""
    stop_signal: StopSignal = "SIGTERM"
    """`command`: how it and its children are told to end; after `drain_timeout_seconds` comes SIGKILL."""
    overlap: bool = False
    """`command`: whether its successor can run beside it. Unless given, a restart ends one worker before it starts the
    next in its place: a successor could not have its port."""
    environment: Environment = Environment()
    """`command`: the variables of this program; those of `runtime.platform.environment` are the application's alone."""

    @property
    def role(self) -> Role:
        """What its workers are."""
        if self.command is not UNSET:
            return "command"
        return "web" if self.name == WEB else "exec"
