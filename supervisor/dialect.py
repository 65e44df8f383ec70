"""Whether workers of one version of a group understand those who call it as another version of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ipc.messages.settings import ExecSettings

if TYPE_CHECKING:
    from ipc.contract import NodeContract
    from supervisor.plan import GroupPlan


def understand(servers: GroupPlan, callers: GroupPlan) -> bool:
    """Whether all that is asked of the group as `callers` know it can be done by it as `servers` have it."""
    have, known = servers.settings, callers.settings
    if not isinstance(have, ExecSettings) or not isinstance(known, ExecSettings):
        return False
    if not known.forwards.items() <= have.forwards.items():
        return False
    nodes = {node.name: node for node in have.nodes}
    return all(was.name in nodes and _takes(nodes[was.name], was) for was in known.nodes)


def _takes(node: NodeContract, was: NodeContract) -> bool:
    """Whether a call of `was` is one of `node`: all is the same to callers but for parameters that may be left out."""
    known = {parameter.name for parameter in was.parameters}
    more = [parameter for parameter in node.parameters if parameter.name not in known]
    parameters = tuple(parameter for parameter in node.parameters if parameter.name in known)
    same = structs.replace(node, parameters=parameters)
    return not any(parameter.required for parameter in more) and _called(same) == _called(was)


def _called(node: NodeContract) -> NodeContract:
    """What callers know of a node."""
    return structs.replace(node, source="", imported_from="", summary="", description="")
