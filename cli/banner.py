"""What is about to run, shown before it does."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from cli.lines import worker_colour
from cli.output import table
from cli.status import DEBUG
from ipc.messages.settings import CommandSettings, WebSettings

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from supervisor.plan import GroupPlan, Plan

_METHODS = {"GET": "green", "POST": "cyan", "PUT": "yellow", "PATCH": "yellow", "DELETE": "red"}


def banner(plan: Plan, version: str) -> RenderableType:
    """Groups with their workers, endpoints with the nodes and groups that answer them."""
    title = Text.assemble(("Shunter", "bold"), f" {version}  ", (str(plan.config_path), "dim"))
    parts: list[RenderableType] = [title, Text(), _groups(plan)]
    if plan.endpoints:
        parts += [Text(), _endpoints(plan)]
    if plan.allow_debug:
        parts += [Text(), Text(f"WARNING: {DEBUG}", "bold red")]
    return Padding(Group(*parts), (1, 0, 1, 2))


def _groups(plan: Plan) -> Table:
    rows = table("group", "workers", "runs", right=("workers",))
    for group in plan.groups:
        rows.add_row(Text(group.name, worker_colour(group.name)), _workers(group), _runs(group))
    return rows


def _workers(group: GroupPlan) -> str:
    return f"{group.workers}" if group.scaling is None else f"{group.scaling.least} to {group.scaling.most}"


def _runs(group: GroupPlan) -> str:
    settings = group.settings
    if isinstance(settings, WebSettings):
        return f"HTTP, {settings.app}" if settings.app else "HTTP"
    if isinstance(settings, CommandSettings):
        return shlex.join(settings.argv)
    nodes = len(settings.nodes)
    return f"{nodes} node{'' if nodes == 1 else 's'} of {', '.join(group.stages)}"


def _endpoints(plan: Plan) -> Table:
    rows = table("method", "path", "node", "group")
    for endpoint in plan.endpoints:
        methods = Text(" ").join(Text(name, _METHODS.get(name, "")) for name in endpoint.methods)
        group = Text(endpoint.group, worker_colour(endpoint.group))
        rows.add_row(methods, endpoint.path, " > ".join(endpoint.pipeline or (endpoint.node,)), group)
    return rows
