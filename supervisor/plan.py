"""What will run, decided before anything does. Pure: a configuration and a description become a plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, structs

from ipc.confinement import Confinement
from ipc.messages.settings import CommandSettings, EmbeddedGroup, ExecSettings, Limits, LogSettings, WebSettings
from ipc.pipeline import hops
from supervisor.bounds import cores_of, least_of, limits_of, policy_of, recycling_of, scaling_of
from supervisor.checks import check_groups, check_links, check_web
from supervisor.command import Readiness
from supervisor.command_checks import check_commands
from supervisor.endpoints import bind
from supervisor.errors import ConfigError, ConfigFaults
from supervisor.policy import RestartPolicy
from supervisor.process_group import WEB, MiB, ProcessGroup
from supervisor.recycling import Recycling
from supervisor.worker_checks import check_hooks, check_workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ipc.contract import Described
    from ipc.messages.settings import EndpointSettings
    from ipc.pipeline import Hops
    from supervisor.config import Config
    from supervisor.machine import Machine
    from supervisor.scaling import Scaling
    from supervisor.users import Identity

Role = Literal["web", "exec", "command"]
Transport = Literal["memory", "tcp_local", "unix"]

LINKS = "links"
"""The directory below the state directory in which exec workers make their sockets."""
ASYNC_SLOTS = 64
"""How many calls a worker of a group of `mode: async` runs at once where nothing is said."""
DRAIN_TIMEOUT = 30.0
"""How long an exec worker may take to finish what it has where nothing is said, seconds."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group: how many workers, what they are told, and how long they may take. Times are seconds."""

    name: str
    role: Role
    workers: int
    stages: tuple[str, ...]
    settings: WebSettings | ExecSettings | CommandSettings
    start_timeout: float = 120.0
    drain_timeout: float = 30.0
    embedded: bool = False
    """Whether its workers are threads of each web worker (`transport: memory`) instead of processes."""
    confinement: Confinement = field(default_factory=Confinement)
    """What its workers do to themselves before they hold a secret."""
    calls_at_once: int = 1
    """How many calls one worker runs at the same time: room in its ledger."""
    preload: bool = False
    """Whether its workers are forked from a process that has imported their nodes."""
    user: str = ""
    """Whom its workers become, as it was written; empty if they stay who the supervisor is."""
    scaling: Scaling | None = None
    """Between which numbers its load decides; None: it has `workers`, with which it starts otherwise."""
    recycling: Recycling = field(default_factory=Recycling)
    """When its workers are replaced for what they have used up."""
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    """When its workers are started again after they died."""
    hung_timeout: float = 10.0
    """How long the event loop of one may stand still."""
    in_place: bool = False
    """Whether a worker has ended before its successor is started."""
    passed: tuple[str, ...] = ()
    """A program's own: names (with `*` wildcards) of variables that it inherits beside the built-in ones."""
    added: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """A program's own: variables that are set for it."""

    @property
    def most(self) -> int:
        """How many workers it may come to have by itself."""
        return self.workers if self.scaling is None else self.scaling.most


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
    rotate_every: float
    """How often workers are given new keys, seconds."""
    log: LogSettings
    groups: tuple[GroupPlan, ...]
    endpoints: tuple[EndpointSettings, ...]
    described: Described
    environment_pass: tuple[str, ...] = ()
    """Names (with `*` wildcards) of variables that children inherit beside the built-in ones."""
    environment_set: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    log_bytes: int = 10 * MiB
    """The longest log file."""
    log_files: int = 2
    """How many there are of each, with the older ones."""
    secret: bytes | None = field(default=None, repr=False)
    """The root secret if the operator gave one (`secret_file`); None: a fresh one for each start."""
    allow_debug: bool = False
    """Whether debuggers may look into the workers, and with them everybody of the same user."""
    as_root: bool = False
    """Whether the supervisor is root, and so are the workers of groups that have no user of their own."""

    def resized(self, name: str, workers: int) -> Plan:
        """The same with so many workers in one group, unless their number follows its load."""
        return replace(
            self,
            groups=tuple(
                replace(group, workers=workers) if group.name == name and group.scaling is None else group
                for group in self.groups
            ),
        )


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
        _exec_group(group, config, described, config_path, sockets, machine) for group in groups if group.role == "exec"
    )
    between = hops(
        (endpoint.pipeline for endpoint in endpoints if endpoint.pipeline),
        routes,
        {node.name for node in described.nodes if node.idempotent},
    )
    exec_groups = tuple(
        _linked(group, found) if (found := between.get(group.name)) is not None else group for group in exec_groups
    )
    embedded = tuple(
        EmbeddedGroup(group.name, group.workers, group.settings)
        for group in exec_groups
        if group.embedded and isinstance(group.settings, ExecSettings)
    )
    platform, web = config.runtime.platform, config.runtime.web
    confined = partial(_confined, config, {group.name: group for group in groups}, users or {})
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
                confined(_command_group(group, config_path.parent, programs or {}, machine))
                for group in groups
                if group.role == "command"
            ),
            *map(confined, exec_groups),
            *(
                confined(_web_group(group, config, described, config_path, endpoints, routes, embedded))
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


def _confined(
    config: Config, groups: Mapping[str, ProcessGroup], users: Mapping[str, Identity], plan: GroupPlan
) -> GroupPlan:
    """The group with what its workers are told to do to themselves."""
    group, identity = groups[plan.name], users.get(plan.name)
    uid, gid = (None, None) if identity is None else identity
    debug = config.runtime.platform.hardening.allow_debug
    named = "" if identity is None or group.user is UNSET else group.user
    confinement = Confinement(int(group.umask, 8), uid, gid, debug)
    return replace(plan, confinement=confinement, user=named, recycling=recycling_of(group), policy=policy_of(group))


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


def _exec_group(
    group: ProcessGroup, config: Config, described: Described, config_path: Path, sockets: str, machine: Machine | None
) -> GroupPlan:
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


def _command_group(
    group: ProcessGroup, directory: Path, programs: Mapping[str, str], machine: Machine | None
) -> GroupPlan:
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


def _linked(plan: GroupPlan, between: Hops) -> GroupPlan:
    """The group with what pipelines have its workers do with those of others."""
    assert isinstance(plan.settings, ExecSettings)  # noqa: S101 - web workers are in no pipeline
    settings = structs.replace(plan.settings, forwards=between.routes, repeatable=between.repeatable, rows=between.rows)
    return replace(plan, settings=settings)


def _web_group(
    group: ProcessGroup,
    config: Config,
    described: Described,
    config_path: Path,
    endpoints: tuple[EndpointSettings, ...],
    routes: dict[str, str],
    embedded: tuple[EmbeddedGroup, ...],
) -> GroupPlan:
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
