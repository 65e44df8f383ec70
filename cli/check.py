"""`shunter check`: what would run, or everything that keeps it from running. Starts nothing."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from cli.stdout import put
from ipc.confinement import PRIVATE
from supervisor.errors import EXIT_CODE, ConfigError, StartError
from supervisor.planning import load_plan
from supervisor.summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.table import Table

OK = 0
KiB = 1024
USUAL_UMASK = f"{PRIVATE:03o}"


def check(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print the plan, or every fault that could be found in one go; returns the exit code."""
    plan = read(config, overrides, as_json=as_json)
    if plan is None:
        return EXIT_CODE
    if as_json:
        print_json({"ok": True, **plan})
    else:
        _print_plan(plan)
    return OK


def read(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> dict[str, Any] | None:
    """What would run, as data. None: it could not, and everything that keeps it from that was printed."""
    try:
        return summary(load_plan(config, overrides, os.environ, None))
    except StartError as error:
        if as_json:
            print_json({"ok": False, "faults": _as_data(error)})
        else:
            from cli.output import show_error  # noqa: PLC0415 -- rich is slow to import, and JSON needs none

            show_error(error)
        return None


def print_json(data: dict[str, Any]) -> None:
    """For programs."""
    put(msgspec.json.format(msgspec.json.encode(data)).decode() + "\n")


def _as_data(error: StartError) -> list[dict[str, str]]:
    if not isinstance(error, ConfigError):
        return [{"what": str(error)}]
    told = (
        {name: getattr(fault, name) for name in ("what", "where", "key", "hint", "detail")} for fault in error.faults
    )
    return [{name: text for name, text in fault.items() if text} for fault in told]


def _print_plan(plan: dict[str, Any]) -> None:
    from cli.output import out, show  # noqa: PLC0415 -- as above
    from cli.status import DEBUG  # noqa: PLC0415 -- as above

    out.print(plan["config"], style="bold", soft_wrap=True)
    for part in (_groups(plan), _endpoints(plan), _unused(plan), _settings(plan)):
        if part.row_count:
            out.print()
            show(part)
    if plan["hardening"]["allow_debug"]:
        out.print(f"\nWARNING: {DEBUG}", style="bold red", soft_wrap=True)
    for note in plan["notes"]:
        out.print(f"\nnote: {note}", style="yellow", soft_wrap=True)


def _number(workers: int | dict[str, float]) -> str:
    return str(workers) if isinstance(workers, int) else f"{workers['min']} to {workers['max']}"


def _groups(plan: dict[str, Any]) -> Table:
    from cli.output import table  # noqa: PLC0415 -- as above

    rows = table("group", "workers", "start", "drain", "runs", right=("workers", "start", "drain"))
    web = plan["web"]
    serves = f"http://{_host(web['host'])}:{web['port']}" + (f", {web['app']}" if web["app"] else "")
    for group in plan["groups"]:
        nodes = f"{len(group['nodes'])} node{'' if len(group['nodes']) == 1 else 's'}"
        of_role = {"web": serves, "command": shlex.join(group.get("command", ()))}
        runs = of_role.get(group["role"]) or f"{nodes} of {', '.join(group['stages'])}"
        times = (f"{group[name]:g} s" for name in ("start_timeout", "drain_timeout"))
        rows.add_row(group["name"], _number(group["workers"]), *times, runs)
    return rows


def _endpoints(plan: dict[str, Any]) -> Table:
    from rich.console import Group  # noqa: PLC0415 -- as above

    from cli.folded import Folded  # noqa: PLC0415 -- as above
    from cli.output import table  # noqa: PLC0415 -- as above

    rows = table("endpoint", "node", "group", "timeout", "", right=("timeout",))
    batches = {node["name"]: node["batch"]["max_size"] for node in plan["nodes"] if node["batch"]}
    for endpoint in plan["endpoints"]:
        rows.add_row(
            Folded(f"{','.join(endpoint['methods'])} {endpoint['path']}"),
            Group(*map(Folded, endpoint["pipeline"] or [endpoint["node"]])),
            endpoint["group"],
            f"{endpoint['timeout_seconds']:g} s",
            ", ".join(_besides(endpoint, batches.get(endpoint["node"]))),
        )
    return rows


def _besides(endpoint: dict[str, Any], batch: int | None) -> Iterator[str]:
    """What is not as it is for every endpoint."""
    if endpoint["through_app"]:
        yield "through the app"
    if endpoint["priority"] != "normal":
        yield f"{endpoint['priority']} priority"
    if endpoint["max_concurrency"]:
        yield f"{endpoint['max_concurrency']} at once in a web worker"
    if batch:
        yield f"in batches of up to {batch}"


def _unused(plan: dict[str, Any]) -> Table:
    from cli.output import table  # noqa: PLC0415 -- as above

    rows = table("node without an endpoint", "group")
    for node in plan["nodes"]:
        if not node["endpoints"]:
            rows.add_row(node["name"], node["group"])
    return rows


def _settings(plan: dict[str, Any]) -> Table:
    from cli.output import table  # noqa: PLC0415 -- as above

    links, limits, environment = plan["links"], plan["limits"], plan["environment"]
    rows = table("setting", "")
    rows.add_row("links", f"{links['transport']}, {links['auth_mode']}")
    rows.add_row("ttl_seconds", f"{links['ttl_seconds']:g}: {links['ttl_means']}")
    rows.add_row("nonce_cache_size", f"{links['nonce_cache_size']}: {links['nonce_cache_means']}")
    rows.add_row("keys", plan["secret"])
    rows.add_row("largest body", _size(limits["max_payload_bytes"]))
    queue = f"{limits['queue_calls']} calls, {_size(limits['queue_bytes'])}, a group and web worker"
    rows.add_row("queue", queue)
    passed = " ".join(environment["passed"]) or "none"
    rows.add_row("variables passed", f"{passed}, beside those that every worker inherits")
    rows.add_row("variables set", " ".join(environment["set"]) or "none")
    requests = ", a line for each request" if plan["log"]["requests"] else ""
    for group in plan["groups"]:
        if group["user"] or group["umask"] != USUAL_UMASK:
            rows.add_row(f"{group['name']} runs as", f"{group['user'] or 'who starts it'}, umask {group['umask']}")
        for told in _kept_to(group):
            rows.add_row(f"{group['name']} workers", told)
    rows.add_row("log", f"{plan['log']['level']}{requests}")
    rows.add_row("state", plan["state_dir"])
    return rows


def _kept_to(group: dict[str, Any]) -> Iterator[str]:
    """What a worker of the group may use up, and what the kernel holds it to."""
    recycling, kernel = group["recycling"], group["kernel"]
    if group["role"] == "command":
        ((sign, value),) = group["ready"].items()
        ready = f"after {value:g} s" if sign == "seconds" else f"by {sign} {value}"
        beside = ", beside its predecessor" if group["overlap"] else ""
        yield f"ready {ready}, told to stop by {group['stop_signal']}{beside}"
    if group["preload"]:
        yield "forked from a process that has imported everything"
    if group.get("slots", 1) > 1:
        yield f"{group['slots']} calls at once, in {'one event loop' if group['mode'] == 'async' else 'threads'}"
    if "max_requests" in recycling:
        least, most = recycling["max_requests"]
        yield f"replaced after {f'{least:,} to ' if least != most else ''}{most:,} requests"
    if "max_memory" in recycling:
        yield f"replaced beyond {_size(recycling['max_memory'])}, killed beyond {_size(recycling['max_memory_kill'])}"
    if kernel:
        sizes = {"address_space", "file_size"}
        told = (f"{name} {_size(most) if name in sizes else most}" for name, most in kernel.items())
        yield f"held by the kernel to {', '.join(told)}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _size(number: int) -> str:
    """Bytes in the largest unit that leaves no rest."""
    for unit in ("bytes", "KiB", "MiB"):
        if number % KiB:
            return f"{number} {unit}"
        number //= KiB
    return f"{number} GiB"
