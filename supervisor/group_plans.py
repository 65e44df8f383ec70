"""What one group of the configuration comes to: its settings, and what its workers are told. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import UNSET, structs

from ipc.confinement import Confinement
from ipc.messages.settings import CommandSettings, EmbeddedGroup, ExecSettings, WebSettings
from supervisor.bounds import cores_of, least_of, limits_of, policy_of, recycling_of, scaling_of
from supervisor.command import Readiness
from supervisor.plan import GroupPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ipc.contract import Described
    from ipc.messages.settings import EndpointSettings
    from ipc.pipeline import Hops
    from supervisor.config import Config
    from supervisor.machine import Machine
    from supervisor.process_group import ProcessGroup
    from supervisor.users import Identity

ASYNC_SLOTS = 64
"""How many calls a worker of a group of `mode: async` runs at once where nothing is said."""
DRAIN_TIMEOUT = 30.0
"""How long an exec worker may take to finish what it has where nothing is said, seconds."""


def exec_group(
    group: ProcessGroup, config: Config, described: Described, config_path: Path, sockets: str, machine: Machine | None
) -> GroupPlan:
    """Workers that run nodes; with `transport: memory` they are threads of each web worker."""
    ipc = config.runtime.platform.execution_ipc
    drain = DRAIN_TIMEOUT if group.drain_timeout_seconds is UNSET else group.drain_timeout_seconds
    settings = ExecSettings(
        nodes=tuple(node for node in described.nodes if node.stage in group.stages),
        bind_host=ipc.bind_host,
        bind_port=ipc.bind_port,
        socket_dir=sockets,
        sys_path=(str(config_path.parent),),
        drain_timeout=drain,
        kill_grace=group.kill_grace_seconds,
        cancel_grace=group.cancel_grace_seconds,
        slots=(slots := _slots(group)),
        mode=group.mode,
        nice=group.nice,
        cores=cores_of(group, machine),
        spread=group.cpu_affinity == "spread",
        limits=limits_of(group),
    )
    embedded = ipc.transport == "memory"
    return GroupPlan(
        group.name,
        "exec",
        least_of(group),
        group.stages,
        settings,
        group.start_timeout_seconds,
        drain,
        embedded,
        calls_at_once=slots
        * max((node.batch.max_size for node in settings.nodes if node.batch is not None), default=1),
        preload=group.preload,
        scaling=scaling_of(group),
        hung_timeout=group.hung_timeout_seconds,
    )


def command_group(
    group: ProcessGroup, directory: Path, programs: Mapping[str, str], machine: Machine | None
) -> GroupPlan:
    """Workers that are programs of their own; `programs` says which file a group's command is."""
    command, ready = group.command or (), group.ready or Readiness()
    settings = CommandSettings(
        argv=command,
        program=programs.get(group.name, command[0]),
        directory=str(directory),
        tcp=ready.tcp or 0,
        http=ready.http or "",
        log=ready.log or "",
        overlap=group.overlap,
        stop_signal=group.stop_signal,
        nice=group.nice,
        cores=cores_of(group, machine),
        spread=group.cpu_affinity == "spread",
        limits=limits_of(group),
    )
    return GroupPlan(
        group.name,
        "command",
        least_of(group),
        (),
        settings,
        group.start_timeout_seconds,
        DRAIN_TIMEOUT if group.drain_timeout_seconds is UNSET else group.drain_timeout_seconds,
        in_place=not group.overlap,
        passed=group.environment.passed,
        added=tuple(group.environment.set.items()),
    )


def _slots(group: ProcessGroup) -> int:
    if group.slots is not UNSET:
        return group.slots
    return ASYNC_SLOTS if group.mode == "async" else 1


def linked(plan: GroupPlan, between: Hops) -> GroupPlan:
    """The group with what pipelines have its workers do with those of others."""
    assert isinstance(plan.settings, ExecSettings)  # noqa: S101 - web workers are in no pipeline
    settings = structs.replace(plan.settings, forwards=between.routes, repeatable=between.repeatable, rows=between.rows)
    return replace(plan, settings=settings)


def web_group(
    group: ProcessGroup,
    config: Config,
    described: Described,
    config_path: Path,
    endpoints: tuple[EndpointSettings, ...],
    routes: dict[str, str],
    embedded: tuple[EmbeddedGroup, ...],
) -> GroupPlan:
    """Workers that speak HTTP. `routes` says which group runs a node."""
    web = config.runtime.web
    drain = web.drain_timeout_seconds if group.drain_timeout_seconds is UNSET else group.drain_timeout_seconds
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
        timeout_header=web.timeout_header,
        drain_timeout=drain,
        keep_alive=web.keep_alive_seconds,
        embedded=embedded,
    )
    start, hung = group.start_timeout_seconds, group.hung_timeout_seconds
    return GroupPlan(group.name, "web", least_of(group), (), settings, start, drain, hung_timeout=hung)


def confined(
    config: Config, groups: Mapping[str, ProcessGroup], users: Mapping[str, Identity], plan: GroupPlan
) -> GroupPlan:
    """The group with what its workers are told to do to themselves."""
    group, identity = groups[plan.name], users.get(plan.name)
    uid, gid = (None, None) if identity is None else identity
    debug = config.runtime.platform.hardening.allow_debug
    named = "" if identity is None or group.user is UNSET else group.user
    confinement = Confinement(int(group.umask, 8), uid, gid, debug)
    return replace(plan, confinement=confinement, user=named, recycling=recycling_of(group), policy=policy_of(group))
