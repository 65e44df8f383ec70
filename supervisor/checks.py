"""What the types of the configuration cannot say about groups, the links between them, and the border. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from msgspec import UNSET

from ipc.hints import suggest
from ipc.ledger import MAX_ROWS
from ipc.scoreboard import SLOTS
from supervisor.bounds import most_of
from supervisor.errors import ConfigError
from supervisor.headers import has_meaning
from supervisor.process_group import WEB, ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from ipc.contract import Described
    from supervisor.config import Config, Web

_GROUPS = "runtime.platform.process_groups"
_LINKS = "runtime.platform.execution_ipc"


def check_groups(groups: Sequence[ProcessGroup], described: Described) -> Iterator[ConfigError]:
    """Faults in the groups, and nodes that none of them runs."""
    names: set[str] = set()
    runs: dict[str, str] = {}
    for n, group in enumerate(groups):
        key = f"{_GROUPS}.{n}"
        if group.name in names:
            yield ConfigError(f"there are two groups named '{group.name}'", key=f"{key}.name")
        names.add(group.name)
        if group.name == WEB:
            if group.mode != "sync" or group.slots is not UNSET:
                yield ConfigError(
                    "the group 'web' runs no nodes, and has no slots for any",
                    key=f"{key}.{'slots' if group.mode == 'sync' else 'mode'}",
                    hint="leave it out; web workers serve many requests at once as they are",
                )
            if group.stages:
                yield ConfigError(
                    "the group 'web' speaks HTTP and runs no stages",
                    key=f"{key}.stages",
                    hint="give the stages to a group of another name",
                )
            continue
        if group.role == "command":
            continue
        if not group.stages:
            yield ConfigError(
                f"the group '{group.name}' has no stages, so it would run nothing",
                key=f"{key}.stages",
                hint="list the stages of its nodes: stages: [core]",
            )
        for m, stage in enumerate(group.stages):
            if stage in runs:
                yield ConfigError(
                    f"the stage '{stage}' is listed for '{runs[stage]}' and again for '{group.name}'",
                    key=f"{key}.stages.{m}",
                    hint="one group runs a stage: with two, nobody could say which worker a call goes to",
                )
            runs.setdefault(stage, group.name)
        yield from _check_mode(group, key, described)
        yield from _check_slots(group, key, described)
    yield from _check_stages(runs, described)


def _check_mode(group: ProcessGroup, key: str, described: Described) -> Iterator[ConfigError]:
    """Nodes that cannot run as the group runs them."""
    here = [node for node in described.nodes if node.stage in group.stages]
    odd = [node for node in here if node.asynchronous != (group.mode == "async")]
    if not odd:
        return
    node, more = odd[0], f", as {len(odd) - 1} more are" if len(odd) > 1 else ""
    other = "give it a stage of another group: @node(stage=...)"
    if node.asynchronous:
        yield ConfigError(
            f"the node {node.name} is `async def`{more}, and the group '{group.name}' runs plain functions",
            key=f"{key}.mode",
            hint=f"set mode: async, or {other}" if len(odd) == len(here) else other,
        )
    else:
        yield ConfigError(
            f"the node {node.name} is a plain function{more}, and would keep all others of '{group.name}' waiting",
            key=f"{key}.mode",
            hint=f"write `async def`, or {other}",
        )


def _check_slots(group: ProcessGroup, key: str, described: Described) -> Iterator[ConfigError]:
    """More calls at once than a worker can account for."""
    slots = 1 if group.slots is UNSET else group.slots
    for node in described.nodes:
        if node.stage in group.stages and node.batch is not None and slots * node.batch.max_size > MAX_ROWS:
            yield ConfigError(
                f"a worker of '{group.name}' would run {slots} batches of {node.batch.max_size} calls of {node.name} at"
                f" once, and {MAX_ROWS} calls are possible",
                key=f"{key}.slots",
                hint=f"at most {MAX_ROWS // node.batch.max_size} slots go with @node(batch=Batch(max_size="
                f"{node.batch.max_size}))",
            )


def _check_stages(runs: Mapping[str, str], described: Described) -> Iterator[ConfigError]:
    homeless: dict[str, list[str]] = {}
    for node in described.nodes:
        if node.stage not in runs:
            homeless.setdefault(node.stage, []).append(node.name)
    for stage, nodes in homeless.items():
        more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        add = f"add a group: {{name: cpu_sync, workers: 2, stages: [{stage}]}}"
        yield ConfigError(
            f"no group runs the stage '{stage}' of the node {nodes[0]}{more}",
            key=_GROUPS,
            hint=f"{suggest(stage, list(runs), 'stages that are run:')} or {add}" if runs else add,
        )


def check_links(config: Config, groups: Sequence[ProcessGroup], users: Container[str]) -> Iterator[ConfigError]:
    """Faults in where exec workers listen, and in what may wait for them.

    Workers of the groups in `users` become somebody else.
    """
    ipc = config.runtime.platform.execution_ipc
    if not _is_loopback(ipc.bind_host):
        yield ConfigError(
            f"'{ipc.bind_host}' is no loopback address, and '{ipc.transport}' does not leave this host",
            key=f"{_LINKS}.bind_host",
            hint="use 127.0.0.1 or ::1",
        )
    workers = sum(most_of(group) for group in groups if group.role == "exec")
    if ipc.transport == "memory" and workers >= SLOTS:
        yield ConfigError(
            f"{workers} exec workers are too many for one process: 'memory' makes threads of each web worker of them",
            key=f"{_LINKS}.transport",
            hint=f"use tcp_local, or at most {SLOTS - 1} workers",
        )
    yield from _check_users(ipc.transport, groups, users)
    yield from _check_preload(ipc.transport, groups)
    if ipc.transport == "tcp_local" and ipc.bind_port and workers > 1:
        yield ConfigError(
            f"{workers} exec workers cannot all listen on port {ipc.bind_port}",
            key=f"{_LINKS}.bind_port",
            hint="0 lets each take a free port and report it",
        )
    if (queue := config.runtime.web.queue.bytes) < ipc.max_payload_bytes:
        yield ConfigError(
            f"a queue of {queue} bytes has no room for a body of max_payload_bytes ({ipc.max_payload_bytes})",
            key="runtime.web.queue.bytes",
        )


def check_web(web: Web) -> Iterator[ConfigError]:
    """Faults in what holds for all endpoints."""
    if web.default_timeout_seconds > web.max_timeout_seconds:
        yield ConfigError(
            f"the default of {web.default_timeout_seconds:g} s is longer than any endpoint may take",
            key="runtime.web.default_timeout_seconds",
            hint=f"runtime.web.max_timeout_seconds is {web.max_timeout_seconds:g}",
        )
    if has_meaning(web.timeout_header):
        yield ConfigError(
            f"requests have a header '{web.timeout_header}' that says something else than how much time a client has",
            key="runtime.web.timeout_header",
            hint="use a name of your own, or leave the key out: it is X-Request-Timeout then",
        )


def _check_users(transport: str, groups: Sequence[ProcessGroup], users: Container[str]) -> Iterator[ConfigError]:
    """Faults in whom workers become: some carriers tie them to the supervisor's own user, or to each other."""
    usual = ProcessGroup(name=WEB)
    for n, group in enumerate(groups):
        key = f"{_GROUPS}.{n}"
        if transport == "unix" and group.name in users:
            yield ConfigError(
                f"workers of '{group.name}' cannot become user '{group.user}': with the carrier 'unix' they meet in"
                " a directory that is open to the user who starts Shunter alone",
                key=f"{key}.user",
                hint="use tcp_local, or leave the key out",
            )
        if transport != "memory" or group.role != "exec":
            continue
        for name in ("user", "umask"):
            if getattr(group, name) != getattr(usual, name):
                yield ConfigError(
                    f"workers of '{group.name}' have no {name} of their own: 'memory' makes threads of each web"
                    " worker of them",
                    key=f"{key}.{name}",
                    hint=f"give it to the group '{WEB}', or use tcp_local",
                )


def _check_preload(transport: str, groups: Sequence[ProcessGroup]) -> Iterator[ConfigError]:
    """Faults in who is forked from a process that has imported the nodes."""
    for n, group in enumerate(groups):
        if not group.preload or group.role == "command" or (group.name != WEB and transport != "memory"):
            continue
        why = "'memory' makes threads of each web worker of them" if group.name != WEB else "they run no nodes"
        yield ConfigError(
            f"workers of '{group.name}' cannot be preloaded: {why}",
            key=f"{_GROUPS}.{n}.preload",
            hint="leave it out" if group.name == WEB else "use tcp_local or unix, or leave it out",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
