"""What the types of the configuration cannot say about the life of one worker, and its limits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from supervisor.errors import ConfigError
from supervisor.process_group import WEB, MiB, ProcessGroup
from supervisor.sizes import in_bytes

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from ipc.contract import Described
    from supervisor.machine import Machine

LEAST_MEMORY = 64 * MiB
"""A worker that runs nothing has some 40 MiB: with less than this it would be replaced for ever."""
LEAST_ADDRESS_SPACE = 256 * MiB
"""A worker that runs nothing has some 220 MiB mapped."""
LEAST_FILE = 4096
MOST = 2**62
"""More than this the kernel does not count."""
_GROUPS = "runtime.platform.process_groups"
_OF_PROCESSES: tuple[str, ...] = ("restart", "max_requests", "max_requests_jitter", "max_memory", "max_memory_kill")
_OF_EXEC_WORKERS: tuple[str, ...] = ("nice", "cpu_affinity", "limits")


def check_workers(groups: Sequence[ProcessGroup], transport: str, machine: Machine | None) -> Iterator[ConfigError]:
    """Faults in what is said of a worker's life and limits; `machine` is None if nobody has looked."""
    for n, group in enumerate(groups):
        key = f"{_GROUPS}.{n}"
        yield from _misplaced(group, transport, key)
        yield from _range(group, transport, key)
        yield from _restart(group, key)
        yield from _memory(group, key)
        yield from _limits(group, machine, key)
        yield from _cores(group, machine, key)


def check_hooks(
    groups: Sequence[ProcessGroup], described: Described, asynchronous: Container[str]
) -> Iterator[ConfigError]:
    """Hooks that are `async def` where nodes do not run in an event loop; in the groups `asynchronous` they do."""
    runs = {stage: group.name for group in groups for stage in group.stages}
    homes: dict[str, set[str]] = {}
    for node in described.nodes:
        homes.setdefault(node.imported_from.partition(":")[0], set()).add(runs.get(node.stage, ""))
    somewhere = any(group.name in asynchronous for group in groups)
    for hook in described.hooks:
        sync = sorted(home for home in homes.get(hook.module, ()) if home and home not in asynchronous)
        if hook.asynchronous and (sync or not somewhere):
            where = f"'{sync[0]}', whose nodes its module has," if sync else "every group"
            yield ConfigError(
                f"{hook.name} ({hook.kind}) is `async def`, and {where} runs its nodes without an event loop",
                key=_GROUPS,
                hint="make it a plain function, or the group one of `mode: async`",
            )


def _misplaced(group: ProcessGroup, transport: str, key: str) -> Iterator[ConfigError]:
    usual = ProcessGroup(name=WEB)
    if group.role == "command":
        return  # see `command_checks`
    if group.name == WEB:
        names, why, hint = _OF_EXEC_WORKERS, "the group 'web' runs no nodes", "give it to the group whose nodes need it"
    elif transport == "memory":
        names, why = (*_OF_PROCESSES, *_OF_EXEC_WORKERS), "'memory' makes threads of each web worker of its workers"
        hint = "use tcp_local"
    else:
        return
    for name in names:
        if getattr(group, name) != getattr(usual, name):
            yield ConfigError(f"{name} means nothing to '{group.name}': {why}", key=f"{key}.{name}", hint=hint)


def _range(group: ProcessGroup, transport: str, key: str) -> Iterator[ConfigError]:
    if isinstance(group.workers, int):
        return
    if group.workers.min > group.workers.max:
        yield ConfigError(
            f"min ({group.workers.min}) is more than max ({group.workers.max})",
            key=f"{key}.workers.min",
            hint="a number, such as workers: 4, is for a group that always has as many",
        )
    if group.name == WEB or (transport == "memory" and group.role != "command"):
        why = "'memory' makes threads of each web worker of them, from its start to its end"
        if group.name == WEB:
            why = "what waits in front of web workers waits in the kernel, where nobody sees for how long"
        yield ConfigError(
            f"the workers of '{group.name}' cannot follow the load: {why}",
            key=f"{key}.workers",
            hint=f"give their number, such as workers: {group.workers.max}",
        )


def _restart(group: ProcessGroup, key: str) -> Iterator[ConfigError]:
    restart = group.restart
    if restart.backoff_max_seconds < restart.backoff_seconds:
        yield ConfigError(
            f"backoff_max_seconds ({restart.backoff_max_seconds:g}) is less than"
            f" backoff_seconds ({restart.backoff_seconds:g})",
            key=f"{key}.restart.backoff_max_seconds",
            hint="waits grow from the one to the other",
        )


def _memory(group: ProcessGroup, key: str) -> Iterator[ConfigError]:
    if group.max_memory is UNSET:
        if group.max_memory_kill is not UNSET:
            yield ConfigError(
                "max_memory_kill needs max_memory, beyond which a worker is replaced in good order",
                key=f"{key}.max_memory_kill",
            )
        return
    yield from _within(group.max_memory, LEAST_MEMORY, f"{key}.max_memory")
    if group.max_memory_kill is not UNSET and in_bytes(group.max_memory_kill) <= in_bytes(group.max_memory):
        yield ConfigError(
            f"max_memory_kill ({group.max_memory_kill}) is not more than max_memory ({group.max_memory})",
            key=f"{key}.max_memory_kill",
            hint="leave it out for a quarter more",
        )


def _limits(group: ProcessGroup, machine: Machine | None, key: str) -> Iterator[ConfigError]:
    limits = group.limits
    if limits.address_space is not UNSET:
        yield from _within(limits.address_space, LEAST_ADDRESS_SPACE, f"{key}.limits.address_space")
    if limits.file_size is not UNSET:
        yield from _within(limits.file_size, LEAST_FILE, f"{key}.limits.file_size")
    if machine is not None and limits.open_files is not UNSET and limits.open_files > machine.open_files:
        yield ConfigError(
            f"{limits.open_files} open files are more than the {machine.open_files} that this process may grant",
            key=f"{key}.limits.open_files",
            hint="raise the hard limit (ulimit -Hn, LimitNOFILE=) or ask for less",
        )


def _within(size: str, least: int, key: str) -> Iterator[ConfigError]:
    if not least <= in_bytes(size) <= MOST:
        told = f"{least // MiB}MiB" if least >= MiB else f"{least}"
        yield ConfigError(f"{size} is no sensible {key.rpartition('.')[2]}", key=key, hint=f"at least {told}")


def _cores(group: ProcessGroup, machine: Machine | None, key: str) -> Iterator[ConfigError]:
    if machine is None or group.cpu_affinity is UNSET or group.cpu_affinity == "spread":
        return
    if missing := [core for core in group.cpu_affinity if core not in machine.cores]:
        yield ConfigError(
            f"this process may not use core {', '.join(map(str, missing))}",
            key=f"{key}.cpu_affinity",
            hint=f"there are: {_told(machine.cores)}",
        )


def _told(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores[:16])) + (", ..." if len(cores) > 16 else "")  # noqa: PLR2004 - one line
