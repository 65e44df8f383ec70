"""Decides what will run, before anything does: a configuration and a description become a plan. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ipc.messages.settings import EmbeddedGroup, ExecSettings, Limits, LogSettings
from ipc.pipeline import hops
from supervisor.checks import check_groups, check_links, check_web
from supervisor.command_checks import check_commands
from supervisor.endpoints import bind
from supervisor.errors import ConfigError, ConfigFaults
from supervisor.group_plans import command_group, confined, exec_group, linked, web_group
from supervisor.plan import LINKS, Plan
from supervisor.process_group import WEB, ProcessGroup
from supervisor.worker_checks import check_hooks, check_workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ipc.contract import Described
    from supervisor.config import Config
    from supervisor.machine import Machine
    from supervisor.users import Identity


def make_plan(
    config: Config,
    described: Described,
    *,
    config_path: Path,
    state_dir: Path,
    users: Mapping[str, Identity] | None = None,
    machine: Machine | None = None,
    programs: Mapping[str, str] | None = None,
) -> Plan:
    """The plan; ConfigError with every fault if there is none that could run.

    `config_path` is absolute, and its directory is the first from which the application is imported. Faults
    name their key and not the line: whoever read the file knows that. The root secret is the caller's to add.
    `users` says whom the workers of a group become, `machine` where they run, `programs` which file a group's command
    is, if that is known.
    """
    groups = _groups(config)
    routes = _routes(groups, described)
    endpoints, unbound = bind(config, described, routes)
    named = _named(config)
    faults = [
        ConfigError(fault.what, key=named.get(_first_word(fault.what), ""), detail=fault.traceback)
        for fault in described.faults
    ]
    faults += [*check_groups(groups, described), *check_links(config, groups, users or {})]
    faults += [*check_web(config.runtime.web), *unbound]
    looped = [group.name for group in groups if group.mode == "async"]
    faults += check_commands(groups)
    faults += check_hooks(groups, described, looped)
    faults += check_workers(groups, config.runtime.platform.execution_ipc.transport, machine)
    ConfigFaults.raise_for(faults)
    sockets = str(state_dir / LINKS) if config.runtime.platform.execution_ipc.transport == "unix" else ""
    exec_groups = tuple(
        exec_group(group, config, described, config_path, sockets, machine) for group in groups if group.role == "exec"
    )
    between = hops(
        (endpoint.pipeline for endpoint in endpoints if endpoint.pipeline),
        routes,
        {node.name for node in described.nodes if node.idempotent},
    )
    exec_groups = tuple(
        linked(group, found) if (found := between.get(group.name)) is not None else group for group in exec_groups
    )
    embedded = tuple(
        EmbeddedGroup(group.name, group.workers, group.settings)
        for group in exec_groups
        if group.embedded and isinstance(group.settings, ExecSettings)
    )
    platform, web = config.runtime.platform, config.runtime.web
    settled = partial(confined, config, {group.name: group for group in groups}, users or {})
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
            queue_wait=web.queue.wait_seconds,
        ),
        rotate_every=ipc.auth.rotate_seconds,
        log=LogSettings(level=config.runtime.log.level, requests=config.runtime.log.requests),
        log_bytes=config.runtime.log.max_bytes,
        log_files=config.runtime.log.files,
        # Programs first, for whoever uses them, then exec workers: when the listener is served, somebody is there.
        groups=(
            *(
                settled(command_group(group, config_path.parent, programs or {}, machine))
                for group in groups
                if group.role == "command"
            ),
            *map(settled, exec_groups),
            *(
                settled(web_group(group, config, described, config_path, endpoints, routes, embedded))
                for group in groups
                if group.role == "web"
            ),
        ),
        endpoints=endpoints,
        described=described,
        environment_pass=platform.environment.passed,
        environment_set=tuple(platform.environment.set.items()),
        allow_debug=platform.hardening.allow_debug,
        as_root=machine is not None and machine.root,
    )


def _named(config: Config) -> dict[str, str]:
    """Where the configuration names something of the application: the key, by that name and by its module's."""
    named = {config.runtime.web.app.partition(":")[0]: "runtime.web.app"} if config.runtime.web.app else {}
    for n, package in enumerate(config.discovery.packages):
        named.setdefault(package, f"discovery.packages.{n}")
    for n, interface in enumerate(config.runtime.web.interfaces):
        for m, endpoint in enumerate(interface.endpoints):
            for k, stage in enumerate(endpoint.stages):
                for name in (stage, stage.rpartition(".")[0]):
                    named.setdefault(name, f"runtime.web.interfaces.{n}.endpoints.{m}.{endpoint.key_of(k)}")
    return named


def _first_word(sentence: str) -> str:
    """A fault of the application begins with the name of what is broken."""
    return sentence.partition(" ")[0].rstrip(":")


def _groups(config: Config) -> tuple[ProcessGroup, ...]:
    """The declared groups, and `web` also if nobody declared it."""
    declared = config.runtime.platform.process_groups
    return declared if any(group.name == WEB for group in declared) else (*declared, ProcessGroup(name=WEB))


def _routes(groups: tuple[ProcessGroup, ...], described: Described) -> dict[str, str]:
    """Which group runs a node."""
    runs = {stage: group.name for group in reversed(groups) if group.role == "exec" for stage in group.stages}
    return {node.name: runs[node.stage] for node in described.nodes if node.stage in runs}
