"""What of another version is not understood by those who still speak the one before. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipc.contract import NodeContract
    from supervisor.plan import Plan


def breaking(old: Plan, new: Plan) -> Iterator[str]:
    """What callers of the old version ask for and workers of the new one do not have, a sentence for each node."""
    now = {node.name: node for node in new.described.nodes}
    for name in sorted(_called(old)):
        was = next((node for node in old.described.nodes if node.name == name), None)
        if was is None:
            continue
        if name not in now:
            yield f"{name} is gone: requests that old web workers still take for it fail during the reload"
        elif (what := _misfit(was, now[name])) is not None:
            yield f"{name}: {what}: requests that old web workers still take for it may fail during the reload"


def _called(plan: Plan) -> set[str]:
    """The nodes that endpoints lead to. What an application hands off by itself nobody knows."""
    return {name for endpoint in plan.endpoints for name in (endpoint.pipeline or (endpoint.node,))}


def _misfit(was: NodeContract, now: NodeContract) -> str | None:
    before = {parameter.name: parameter for parameter in was.parameters}
    for parameter in now.parameters:
        known = before.pop(parameter.name, None)
        if known is None:
            if parameter.required:
                return f"there is a new parameter '{parameter.name}'"
        elif known.json_schema != parameter.json_schema:
            return f"the parameter '{parameter.name}' is another"
    if before:
        return f"the parameter '{next(iter(before))}' is gone"
    if was.body != now.body:
        return "its body is another"
    return None
