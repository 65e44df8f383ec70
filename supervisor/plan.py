"""What will run, decided before anything does. Pure: a configuration and a description become a plan."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET

from ipc.messages.lifeline import ExecSettings, Limits, LogSettings, WebSettings
from supervisor.config import WEB, Config, ProcessGroup
from supervisor.decode import suggest
from supervisor.endpoints import bind
from supervisor.errors import ConfigError, ConfigFaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ipc.contract import Described
    from ipc.messages.lifeline import EndpointSettings

Role = Literal["web", "exec"]
Transport = Literal["memory", "tcp_local"]

DRAIN_TIMEOUT = 30.0
"""How long an exec worker may take to finish what it has where nothing is said, seconds."""
_GROUPS = "runtime.platform.process_groups"
_LINKS = "runtime.platform.execution_ipc"


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group: how many workers, what they are told, and how long they may take. Times are seconds."""

    name: str
    role: Role
    workers: int
    stages: tuple[str, ...]
    settings: WebSettings | ExecSettings
    start_timeout: float = 120.0
    drain_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the supervisor needs to know; `groups` stand in the order in which they start."""

    config_path: Path
    state_dir: Path
    host: str
    port: int
    transport: Transport
    auth_mode: Literal["hmac", "aead"]
    limits: Limits
    log: LogSettings
    groups: tuple[GroupPlan, ...]
    endpoints: tuple[EndpointSettings, ...]
    described: Described
    environment_pass: tuple[str, ...] = ()
    """Names (with `*` wildcards) of variables that children inherit beside the built-in ones."""
    environment_set: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret: bytes | None = field(default=None, repr=False)
    """The root secret if the operator gave one (`secret_file`); None: a fresh one for each start."""


def make_plan(config: Config, described: Described, *, config_path: Path, state_dir: Path) -> Plan:
    """The plan; ConfigError with every fault if there is none that could run.

    `config_path` is absolute, and its directory is the first from which the application is imported. Faults
    name their key and not the line: whoever read the file knows that. The root secret is the caller's to add.
    """
    groups = _groups(config)
    routes = _routes(groups, described)
    endpoints, unbound = bind(config, described, routes)
    faults = [ConfigError(fault.what, detail=fault.traceback) for fault in described.faults]
    faults += [*_check_groups(groups, described), *_check_links(config, groups), *unbound]
    ConfigFaults.raise_for(faults)
    platform, web = config.runtime.platform, config.runtime.web
    ipc = platform.execution_ipc
    return Plan(
        config_path=config_path,
        state_dir=state_dir,
        host=web.host,
        port=web.port,
        transport=ipc.transport,
        auth_mode=ipc.auth.mode,
        limits=Limits(
            max_payload=ipc.max_payload_bytes,
            ttl=ipc.auth.ttl_seconds,
            window=ipc.auth.nonce_cache_size,
            queue_calls=web.queue.calls,
            queue_bytes=web.queue.bytes,
        ),
        log=LogSettings(level=config.runtime.log.level, requests=config.runtime.log.requests),
        # Exec workers first: when the listener is served, somebody is there to do the work.
        groups=(
            *(_exec_group(group, config, described, config_path) for group in groups if group.name != WEB),
            *(
                _web_group(group, config, described, config_path, endpoints, routes)
                for group in groups
                if group.name == WEB
            ),
        ),
        endpoints=endpoints,
        described=described,
        environment_pass=platform.environment.passed,
        environment_set=tuple(platform.environment.set.items()),
    )


def _groups(config: Config) -> tuple[ProcessGroup, ...]:
    """The declared groups, and `web` also if nobody declared it."""
    declared = config.runtime.platform.process_groups
    return declared if any(group.name == WEB for group in declared) else (*declared, ProcessGroup(name=WEB))


def _routes(groups: tuple[ProcessGroup, ...], described: Described) -> dict[str, str]:
    """Which group runs a node."""
    runs = {stage: group.name for group in reversed(groups) if group.name != WEB for stage in group.stages}
    return {node.name: runs[node.stage] for node in described.nodes if node.stage in runs}


def _check_groups(groups: tuple[ProcessGroup, ...], described: Described) -> Iterator[ConfigError]:
    names: set[str] = set()
    runs: dict[str, str] = {}
    for n, group in enumerate(groups):
        key = f"{_GROUPS}.{n}"
        if group.name in names:
            yield ConfigError(f"there are two groups named '{group.name}'", key=f"{key}.name")
        names.add(group.name)
        if group.name == WEB:
            if group.stages:
                yield ConfigError(
                    "the group 'web' speaks HTTP and runs no stages",
                    key=f"{key}.stages",
                    hint="give the stages to a group of another name",
                )
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
    yield from _check_stages(runs, described)


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
            hint=f"{suggest(stage, list(runs), 'stages that are run')} or {add}" if runs else add,
        )


def _check_links(config: Config, groups: tuple[ProcessGroup, ...]) -> Iterator[ConfigError]:
    ipc = config.runtime.platform.execution_ipc
    if not _is_loopback(ipc.bind_host):
        yield ConfigError(
            f"'{ipc.bind_host}' is no loopback address, and '{ipc.transport}' does not leave this host",
            key=f"{_LINKS}.bind_host",
            hint="use 127.0.0.1 or ::1",
        )
    workers = sum(group.workers for group in groups if group.name != WEB)
    if ipc.bind_port and workers > 1:
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _exec_group(group: ProcessGroup, config: Config, described: Described, config_path: Path) -> GroupPlan:
    ipc = config.runtime.platform.execution_ipc
    drain = DRAIN_TIMEOUT if group.drain_timeout is UNSET else group.drain_timeout
    settings = ExecSettings(
        nodes=tuple(node for node in described.nodes if node.stage in group.stages),
        bind_host=ipc.bind_host,
        bind_port=ipc.bind_port,
        sys_path=(str(config_path.parent),),
        drain_timeout=drain,
    )
    return GroupPlan(group.name, "exec", group.workers, group.stages, settings, group.start_timeout, drain)


def _web_group(
    group: ProcessGroup,
    config: Config,
    described: Described,
    config_path: Path,
    endpoints: tuple[EndpointSettings, ...],
    routes: dict[str, str],
) -> GroupPlan:
    web = config.runtime.web
    drain = web.drain_timeout_seconds if group.drain_timeout is UNSET else group.drain_timeout
    settings = WebSettings(
        endpoints=endpoints,
        nodes=described.nodes,
        components=described.components,
        routes=routes,
        app=web.app,
        title=web.title,
        docs=web.docs,
        sys_path=(str(config_path.parent),),
        max_body=config.runtime.platform.execution_ipc.max_payload_bytes,
        default_timeout=web.default_timeout_seconds,
        drain_timeout=drain,
        keep_alive=web.keep_alive_seconds,
    )
    return GroupPlan(group.name, "web", group.workers, (), settings, group.start_timeout, drain)
