"""What the types of the configuration cannot say about groups that run a program of any kind. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import UNSET, structs

from supervisor.bounds import most_of
from supervisor.command import HTTP_PORT, LAST_PORT
from supervisor.errors import ConfigError
from supervisor.process_group import WEB, ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from supervisor.command import Readiness

_GROUPS = "runtime.platform.process_groups"
_OF_ALL = frozenset(
    {
        *("name", "workers", "restart", "start_timeout_seconds", "drain_timeout_seconds"),
        *("nice", "cpu_affinity", "limits", "user", "umask"),
    }
)
_OF_COMMANDS = ("ready", "stop_signal", "overlap", "environment")
_USUAL = ProcessGroup(name=WEB)


def check_commands(groups: Sequence[ProcessGroup]) -> Iterator[ConfigError]:
    """Keys without a meaning, for a group with a program or for one without, and signs of being ready that are none."""
    for n, group in enumerate(groups):
        key = f"{_GROUPS}.{n}"
        given = [
            info.encode_name
            for info in structs.fields(ProcessGroup)
            if getattr(group, info.name) != getattr(_USUAL, info.name)
        ]
        if group.command is UNSET:
            for name in _OF_COMMANDS:
                if name in given:
                    yield ConfigError(
                        f"{name} means nothing to '{group.name}', which has no command",
                        key=f"{key}.{name}",
                        hint="leave it out, or say what is to be run: command: [program, argument]",
                    )
            continue
        if group.name == WEB:
            yield ConfigError(
                "the group 'web' speaks HTTP and is no other program",
                key=f"{key}.command",
                hint="give the command to a group of another name",
            )
        for name in given:
            if name not in {*_OF_ALL, *_OF_COMMANDS, "command"}:
                what = (
                    "runs no nodes, so no stage is its own" if name == "stages" else "is a program that takes no calls"
                )
                yield ConfigError(
                    f"{name} means nothing to '{group.name}', which {what}",
                    key=f"{key}.{name}",
                    hint="give it to a group without a command",
                )
        if not isinstance(group.workers, int):
            yield ConfigError(
                f"the number of workers of '{group.name}' cannot follow the load: a program takes no calls",
                key=f"{key}.workers",
                hint="give a number; shunter scale changes it",
            )
        if group.ready is not UNSET:
            yield from _check_ready(group.ready, most_of(group), f"{key}.ready")


def _check_ready(ready: Readiness, workers: int, key: str) -> Iterator[ConfigError]:
    said = [name for name in ("tcp", "http", "log") if getattr(ready, name) is not UNSET]
    if len(said) != 1:
        yield ConfigError(
            f"it is ready when one thing has happened, and here are {len(said)}",
            key=key,
            hint="give one of tcp, http and log",
        )
    ports = {} if ready.tcp is UNSET else {"tcp": ready.tcp}
    if ready.http is not UNSET:
        ports["http"] = int(urlsplit(ready.http).netloc.rpartition("]")[2].rpartition(":")[2] or HTTP_PORT)
    for name, port in ports.items():
        if not 1 <= port <= LAST_PORT - workers + 1:
            last = f" to {port + workers - 1}" if workers > 1 else ""
            yield ConfigError(
                f"there are no ports {port}{last}: they go from 1 to {LAST_PORT}",
                key=f"{key}.{name}",
                hint="each worker is asked at a port of its own, one after the other" if workers > 1 else "",
            )
