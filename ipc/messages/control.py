"""What a person's command line and the supervisor say to each other over the control socket.

One JSON object a line. The client sends one order; the supervisor answers with any number of `Progress` lines and
then exactly one of `Status`, `Done` or `Refused`, and closes. After `Watch` it answers with any number of `Happened`,
`Missed` and `Status` lines first; `CallNode` is followed by the bytes it announces, and answered with `Called` and
the bytes which that announces.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ipc.decoding.jsontext import json_value
from ipc.messages.errand import Outcome

MAX_LINE = 64 * 1024
"""The longest order, bytes."""


class AskStatus(Struct, frozen=True, tag="status"):
    """What runs?"""


class Stop(Struct, frozen=True, tag="stop"):
    """Drain everything and leave; at once if `force`."""

    force: bool = False


class Restart(Struct, frozen=True, tag="restart"):
    """Replace every worker of `group` (of all groups if empty): the successor is ready before the old one drains."""

    group: str = ""


class RestartWorker(Struct, frozen=True, tag="restart_worker"):
    """Replace one worker, by the name of its seat or of its life: it drains once its successor is ready."""

    worker: str


class Scale(Struct, frozen=True, tag="scale"):
    """Have that many workers in `group`: new ones are ready when this is done, and those that leave have finished."""

    group: str
    workers: int


class Reload(Struct, frozen=True, tag="reload"):
    """Read the configuration and the application again, and replace what is not as they say."""


class RotateKeys(Struct, frozen=True, tag="rotate_keys"):
    """Give every worker new keys, without a lost call, and forget the old ones."""


class Watch(Struct, frozen=True, tag="watch"):
    """What happens? Told until who asks hangs up, or the service has stopped."""

    last: Annotated[int, Meta(ge=0)] = 0
    """How many of the last events come first."""
    follow: bool = True
    """Whether those to come are told too."""
    interval: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """Every how many seconds a `Status` is told too; 0 for none."""


MAX_ASKED = 4 * 1024 * 1024
"""Bytes that may come with a call: its arguments and its body."""
MAX_RESULT = 4 * 1024 * 1024
"""The largest result of one."""


class CallNode(Struct, frozen=True, tag="call"):
    """Call a node through the links of the service. The arguments, a JSON object, and the body follow this line."""

    node: str
    timeout: Annotated[float, Meta(gt=0, le=3600)]
    """Seconds."""
    arguments: Annotated[int, Meta(ge=0, le=MAX_ASKED)]
    """How many bytes of arguments follow."""
    body: Annotated[int, Meta(ge=0, le=MAX_ASKED)] | None = None
    """And of a body, if it is not among the arguments."""


Command = AskStatus | Stop | Restart | RestartWorker | Scale | Reload | RotateKeys
"""What is carried out and then answered."""
Order = Command | Watch | CallNode


class WorkerStatus(Struct, frozen=True):
    """One worker, as `status` shows it."""

    name: str
    pid: int | None
    state: str
    incarnation: int
    restarts: int
    since: float
    """When it entered its state, Unix seconds."""
    calls: int
    """Calls (exec) or requests (web) it has finished in this life."""
    running: int
    rss_bytes: int
    reason: str = ""
    """Why its predecessor ended, in words; empty if it never did."""
    longest: float = 0.0
    """For how long the oldest of the calls it runs has been running, seconds; 0 if it runs none, or is a web worker."""
    refused: int = 0
    """Messages on its links that it refused in this life: forged, replayed, broken. Its log names the reasons."""
    cpu_seconds: float = 0.0
    """Processor time of its process in this life; 0 if it has none of its own, or it cannot be told."""
    crashes: int = 0
    """How many times it crashed in a row."""
    last_words: str = ""
    """If it was given up: the traceback it told, or the last it wrote to its standard error."""
    planned: bool = False
    """Whether the end of its predecessor was meant to be: it was replaced, recycled, or told to end."""


class Figures(Struct, frozen=True):
    """What those who call a group saw of it in the last ten seconds or so; of `web`, what it saw of its requests."""

    calls_per_second: float
    """Calls (or requests) that were answered, failed ones too."""
    wait_p50_ms: float
    """How long calls waited for a worker that was free, milliseconds: the median; and what one of a hundred exceeds."""
    wait_p99_ms: float
    latency_p50_ms: float
    """How long it took until their answer was there, the wait included, milliseconds."""
    latency_p99_ms: float
    waiting: int
    """Calls that wait for a worker now."""


class GroupStatus(Struct, frozen=True):
    """One group. `state` is `up`, `starting`, `degraded`, `failed`, `draining` or `down`."""

    name: str
    state: str
    workers: tuple[WorkerStatus, ...]
    template: WorkerStatus | None = None
    """The warm process that its workers are forked from (`preload`); it serves nobody."""
    figures: Figures | None = None
    """None if nothing is known: nobody has called it for a while."""
    between: tuple[int, int] | None = None
    """Between which numbers of workers its load decides; None: it has as many as it was told to."""


class SupervisorStatus(Struct, frozen=True):
    """The supervisor itself. `since` is Unix seconds, `config` the file's path."""

    pid: int
    version: str
    since: float
    config: str
    allow_debug: bool = False
    """Whether other processes of the same user may look into the workers, and read their keys."""


class Status(Struct, frozen=True, tag="status_is", tag_field="answer"):
    """The answer to `AskStatus`; without its tag it is what `shunter status --json` prints."""

    supervisor: SupervisorStatus
    groups: tuple[GroupStatus, ...]


class Progress(Struct, frozen=True, tag="progress", tag_field="answer"):
    """Something happened on the way; more answers follow."""

    text: str


class Done(Struct, frozen=True, tag="done", tag_field="answer"):
    """The order was carried out."""

    text: str


class Refused(Struct, frozen=True, tag="refused", tag_field="answer"):
    """The order was not carried out; `usage` says that it was wrong in itself (exit code 2)."""

    why: str
    usage: bool = False
    report: bool = False
    """Whether `why` is a report of its own, of several lines."""


class Happened(Struct, frozen=True, tag="happened", tag_field="answer"):
    """An event, as the line of JSON that the supervisor keeps of it (`supervisor.chronicle`)."""

    line: str


class Missed(Struct, frozen=True, tag="missed", tag_field="answer"):
    """So many events were left out here: who asks reads slower than they come."""

    count: int


class Called(Outcome, frozen=True, tag="called", tag_field="answer"):
    """What came of `CallNode`; as many bytes as its `size` says follow this line."""

    worker: str = ""
    """The web worker that called it."""


Answer = Status | Progress | Done | Refused | Happened | Missed | Called

_order: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def encode(message: Order | Answer) -> bytes:
    """One line, whatever it says."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError:  # half a character, as the name of a file may have that is no UTF-8
        return msgspec.json.encode(_whole(msgspec.to_builtins(message))) + b"\n"


def _whole(said: Any) -> Any:  # noqa: ANN401 -- whatever JSON can say
    match said:
        case str():
            return said.encode(errors="backslashreplace").decode()
        case dict():
            return {name: _whole(value) for name, value in said.items()}
        case list() | tuple():
            return [*map(_whole, said)]
        case _:
            return said


def decode_order(line: bytes) -> Order:
    """What a client asks; msgspec.DecodeError for anything else."""
    json_value(line)
    return _order.decode(line)


def decode_answer(line: bytes) -> Answer:
    """What a supervisor answers; msgspec.DecodeError for anything else."""
    json_value(line)
    return _answer.decode(line)
