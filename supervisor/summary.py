"""A plan as plain data, for programs (`--json`) and for the tables that people read. Pure; holds no secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ipc.messages.settings import CommandSettings, ExecSettings, WebSettings
from ipc.wire.replay import rounded
from supervisor.command import MOMENT
from supervisor.config import ExecutionIpc
from supervisor.environment import HARMLESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipc.contract import NodeContract
    from ipc.messages.settings import EndpointSettings
    from supervisor.plan import GroupPlan, Plan
    from supervisor.recycling import Recycling
    from supervisor.scaling import Scaling


def summary(plan: Plan) -> dict[str, Any]:
    """Everything that was decided. Of variables that are set only the names are told, of the secret its origin."""
    web = next(group.settings for group in plan.groups if isinstance(group.settings, WebSettings))
    return {
        "config": str(plan.config_path),
        "state_dir": str(plan.state_dir),
        "web": {"host": plan.host, "port": plan.port, "app": web.app, "title": web.title, "docs": web.docs},
        "groups": [_group(group) for group in plan.groups],
        "endpoints": [_endpoint(endpoint) for endpoint in plan.endpoints],
        "app_routes": [structs.asdict(route) for route in plan.described.routes if web.docs or route.kind != "docs"],
        "nodes": [_node(node, web) for node in plan.described.nodes],
        "links": _links(plan),
        "limits": {
            "max_payload_bytes": plan.limits.max_payload,
            "queue_calls": plan.limits.queue_calls,
            "queue_bytes": plan.limits.queue_bytes,
        },
        "secret": "fresh at each start" if plan.secret is None else "secret_file",
        "hardening": {"allow_debug": plan.allow_debug},
        "environment": {
            "inherited": list(HARMLESS),
            "passed": list(plan.environment_pass),
            "set": [name for name, _ in plan.environment_set],
        },
        "log": {"level": plan.log.level, "requests": plan.log.requests},
        "notes": list(_notes(plan, web)),
    }


def _group(group: GroupPlan) -> dict[str, Any]:
    return {
        "name": group.name,
        "role": group.role,
        "workers": group.workers if group.scaling is None else _range(group.scaling),
        "stages": list(group.stages),
        "nodes": [node.name for node in group.settings.nodes] if isinstance(group.settings, ExecSettings) else [],
        "start_timeout": group.start_timeout,
        "drain_timeout": group.drain_timeout,
        "preload": group.preload,
        **(_calls(group.settings) if isinstance(group.settings, ExecSettings) else {}),
        "user": group.user or None,
        "umask": f"{group.confinement.umask:03o}",
        "restart": asdict(group.policy),
        "recycling": _recycling(group.recycling),
        "kernel": {} if isinstance(group.settings, WebSettings) else _kernel(group.settings),
        **(_command(group.settings, group) if isinstance(group.settings, CommandSettings) else {}),
    }


def _command(settings: CommandSettings, group: GroupPlan) -> dict[str, Any]:
    """What is run, and how it is known to be ready. Of variables that are set only the names are told."""
    ready = {name: said for name in ("tcp", "http", "log") if (said := getattr(settings, name))}
    return {
        "command": list(settings.argv),
        "program": settings.program,
        "ready": ready or {"seconds": MOMENT},
        "stop_signal": settings.stop_signal,
        "overlap": settings.overlap,
        "environment": {"passed": list(group.passed), "set": [name for name, _ in group.added]},
    }


def _range(scaling: Scaling) -> dict[str, Any]:
    return {"min": scaling.least, "max": scaling.most, "target_wait_ms": scaling.target * 1000}


def _calls(settings: ExecSettings) -> dict[str, Any]:
    """How a worker runs calls, and how long it may after nobody waits any more."""
    return {
        "mode": settings.mode,
        "slots": settings.slots,
        "kill_grace": settings.kill_grace,
        "cancel_grace": settings.cancel_grace,
    }


def _recycling(recycling: Recycling) -> dict[str, Any]:
    """What a life of a worker may use: only what is bounded."""
    told: dict[str, Any] = {}
    if recycling.max_requests is not None:
        told["max_requests"] = [recycling.enough(1.0), recycling.max_requests]
    if recycling.max_memory is not None:
        told |= {"max_memory": recycling.max_memory, "max_memory_kill": recycling.kill_memory}
    return told


def _kernel(settings: ExecSettings | CommandSettings) -> dict[str, Any]:
    """What the kernel is told about a worker: only what it is told."""
    told: dict[str, Any] = {"nice": settings.nice} if settings.nice else {}
    told |= {name: most for name, most in structs.asdict(settings.limits).items() if most is not None}
    if settings.cores:
        told["cpu_affinity"] = "spread" if settings.spread else list(settings.cores)
    return told


def _endpoint(endpoint: EndpointSettings) -> dict[str, Any]:
    return {
        "path": endpoint.path,
        "methods": list(endpoint.methods),
        "node": endpoint.node,
        "pipeline": list(endpoint.pipeline),
        "group": endpoint.group,
        "timeout_seconds": endpoint.timeout,
        "priority": endpoint.priority,
        "max_concurrency": endpoint.max_concurrency or None,
        "status": endpoint.status,
        "through_app": endpoint.through_app,
        "dependencies": list(endpoint.dependencies),
        "tags": list(endpoint.tags),
    }


def _node(node: NodeContract, web: WebSettings) -> dict[str, Any]:
    return {
        "name": node.name,
        "stage": node.stage,
        "group": web.routes[node.name],
        "endpoints": [
            endpoint.path for endpoint in web.endpoints if node.name in (endpoint.pipeline or (endpoint.node,))
        ],
        "parameters": [{"name": parameter.name, "required": parameter.required} for parameter in node.parameters],
        "body": None
        if node.body is None
        else {"name": node.body.name, "kind": node.body.kind, "media_type": node.body.media_type},
        "result": {"kind": node.result.kind, "media_type": node.result.media_type},
        "idempotent": node.idempotent,
        "batch": None
        if node.batch is None
        else {"max_size": node.batch.max_size, "max_wait_ms": node.batch.max_wait_ms},
        "source": node.source,
    }


def _links(plan: Plan) -> dict[str, Any]:
    ttl, window = plan.limits.ttl, plan.limits.window
    return {
        "transport": plan.transport,
        "auth_mode": plan.auth_mode,
        "ttl_seconds": ttl,
        "ttl_means": f"an envelope that is more than {ttl:g} s old when it arrives, on clocks that nobody can set,"
        f" is refused; after a rotation an old key is good for {ttl:g} s more at most",
        "nonce_cache_size": window,
        "nonce_cache_means": f"not needed on {plan.transport}: it keeps order, so each envelope must be the very"
        " next one, and no replay or rate depends on a cache; a carrier that does not would remember the last"
        f" {rounded(window):,} of each session and direction in {rounded(window) // 8:,} bytes",
    }


_UNBOUND = (ExecutionIpc().bind_host, ExecutionIpc().bind_port)


def _notes(plan: Plan, web: WebSettings) -> Iterator[str]:
    """What is no fault and yet probably not meant."""
    if not plan.endpoints and not web.app:
        yield "there is no endpoint and no app: nothing is served but /healthz and /readyz"
    used = {node.stage for node in plan.described.nodes}
    yield from _cut_short(plan, web)
    for group in plan.groups:
        for stage in group.stages:
            if stage not in used:
                yield f"no node has the stage '{stage}', which the group '{group.name}' runs"
    for group in plan.groups:
        if not isinstance(group.settings, ExecSettings):
            continue
        if group.settings.limits.processes is not None and plan.as_root and not group.user:
            yield f"limits.processes does not hold for root, and '{group.name}' runs as root: give it a user"
        if plan.transport != "tcp_local" and (group.settings.bind_host, group.settings.bind_port) != _UNBOUND:
            yield f"bind_host and bind_port mean nothing to '{plan.transport}': no worker listens on an address"
            break
        if group.settings.bind_port:
            yield (
                f"'{group.name}' listens on port {group.settings.bind_port}: while its worker is replaced,"
                " old and new cannot both have it; 0 avoids that"
            )


def _cut_short(plan: Plan, web: WebSettings) -> Iterator[str]:
    """Groups that may end before their longest call does."""
    for group in plan.groups:
        if group.embedded:
            continue
        mine = [
            endpoint
            for endpoint in plan.endpoints
            if group.role == "web"
            or group.name in {endpoint.group, *(web.routes.get(node) for node in endpoint.pipeline)}
        ]
        longest = max(mine, key=lambda endpoint: endpoint.timeout, default=None)
        if longest is not None and longest.timeout > group.drain_timeout:
            when = "restart, recycling or stop" if group.role == "web" else "stop"
            yield (
                f"{longest.path} may take {longest.timeout:g} s, '{group.name}' drains for {group.drain_timeout:g} s:"
                f" at a {when} what takes longer is lost; drain_timeout_seconds says how long it has"
            )
