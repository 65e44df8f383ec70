"""Nodes in a row as data: which groups a call visits, and what the row takes and gives as if it were one node. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from ipc.contract import NodeContract, Parameter

MAX_STAGES = 16
"""How many nodes a pipeline may have: their names and parameters travel in one meta."""


class Leg(NamedTuple):
    """Stages that follow each other in one group: they run back to back in one worker, as one call."""

    group: str
    nodes: tuple[str, ...]


def legs(nodes: Iterable[str], routes: Mapping[str, str]) -> tuple[Leg, ...]:
    """The way of a call. `routes` says which group runs a node; KeyError for a node nobody runs."""
    way: list[Leg] = []
    for node in nodes:
        group = routes[node]
        if way and way[-1].group == group:
            way[-1] = Leg(group, (*way[-1].nodes, node))
        else:
            way.append(Leg(group, (node,)))
    return tuple(way)


class Hops(NamedTuple):
    """What the workers of one group have to do with those of other exec groups."""

    routes: dict[str, str]
    """To whom they send calls on: the group of each node that follows one of theirs."""
    rows: tuple[tuple[str, ...], ...]
    """What others may send them: a node of theirs, and what follows it."""
    repeatable: tuple[str, ...]
    """Nodes of `routes` that may be tried again, and with them all that follows: it may have been sent on already."""


def hops(
    pipelines: Iterable[Sequence[str]], routes: Mapping[str, str], idempotent: Container[str] = ()
) -> dict[str, Hops]:
    """By group; who is not in it speaks to web workers alone."""
    found: dict[str, Hops] = {}
    for nodes in pipelines:
        way = legs(nodes, routes)
        for at, (before, after) in enumerate(pairwise(way), 1):
            mine, theirs = (found.get(leg.group, Hops({}, (), ())) for leg in (before, after))
            first, row = after.nodes[0], tuple(node for leg in way[at:] for node in leg.nodes)
            again = set(mine.repeatable) if first in mine.routes else {*mine.repeatable, first}
            if not all(node in idempotent for node in row):
                again.discard(first)
            found[before.group] = mine._replace(
                routes={**mine.routes, first: after.group}, repeatable=tuple(sorted(again))
            )
            found[after.group] = theirs._replace(rows=tuple(dict.fromkeys((*theirs.rows, row))))
    return found


def joined(stages: Sequence[NodeContract]) -> NodeContract:
    """What the row is to its callers: the body of the first, the result of the last, the parameters of all."""
    if len(stages) == 1:
        return stages[0]
    first, last = stages[0], stages[-1]
    parameters: dict[str, Parameter] = {}
    for stage in stages:
        for each in stage.parameters:
            known = parameters.setdefault(each.name, each)
            if known is not each:
                parameters[each.name] = _either(known, each)
    return replace(
        first,
        parameters=tuple(parameters.values()),
        result=last.result,
        idempotent=all(stage.idempotent for stage in stages),
        summary=", then ".join(stage.summary or stage.name for stage in stages),
        description="\n\n".join(stage.description for stage in stages if stage.description),
    )


def same_kind(one: Parameter, other: Parameter) -> bool:
    """Whether two stages mean the same by a parameter, defaults aside."""
    return _kind(one) == _kind(other)


def _kind(parameter: Parameter) -> tuple[object, ...]:
    schema = {key: value for key, value in parameter.json_schema.items() if key != "default"}
    return schema, parameter.shape, parameter.many


def _either(one: Parameter, other: Parameter) -> Parameter:
    """One parameter for two stages: required if either cannot do without; no default that holds for one alone."""
    required = one if one.required or not other.required else other
    if one.json_schema == other.json_schema:
        return required
    schema = {key: value for key, value in required.json_schema.items() if key != "default"}
    return replace(required, json_schema=schema)
