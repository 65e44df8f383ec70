"""What another plan would change in a service that runs, group by group, in words too. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from ipc.messages.settings import CommandSettings, ExecSettings, WebSettings
from supervisor.dialect import understand

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ipc.contract import Module
    from supervisor.plan import GroupPlan, Plan

Kind = Literal["added", "changed", "resized", "adjusted", "same", "removed"]
"""`changed`: its workers are replaced; `adjusted`: only the supervisor does something else with them."""

_SUPERVISED = frozenset({"workers", "hung_timeout", "policy", "recycling", "scaling", "start_timeout"})
"""What of a group's plan no worker is told."""
_MAX_NAMED = 3
"""How many files a sentence names."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one group."""

    group: str
    kind: Kind
    why: tuple[str, ...] = ()
    """What is not as it was."""
    workers: tuple[int, int] = (0, 0)
    """How many its plan wants, before and after."""

    def __str__(self) -> str:
        before, after = self.workers
        become = f"{'becomes' if before == 1 else 'become'} {after}"
        resized = f"; {before} {become}" if before != after else ""
        match self.kind:
            case "added":
                return f"{self.group}: new: {_are(after)} started"
            case "removed":
                return f"{self.group}: gone from the configuration: {_are(before)} drained"
            case "changed":
                why = f"{_and(self.why)} changed" if self.why else "may run another version"
                return f"{self.group}: {why}: {_are(before)} replaced{resized}"
            case "resized":
                return f"{self.group}: {before} {_workers(before)} {become}"
            case "adjusted":
                return f"{self.group}: {_and(self.why)} changed: no worker is replaced{resized}"
            case _:
                return f"{self.group}: same"


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the plan in force and another one."""

    fixed: tuple[str, ...] = ()
    """Keys that are not as they were, and that a running service cannot change."""
    changes: tuple[Change, ...] = ()
    """In the order in which the groups start; those that are removed come last."""
    before_do: frozenset[str] = frozenset()
    """The groups whose workers of the version before understand callers of the new one."""
    after_do: frozenset[str] = frozenset()
    """Those whose new workers understand callers of the version before."""

    @property
    def refusal(self) -> str:
        """Why the plan cannot be taken over, in one sentence; empty if it can."""
        if not self.fixed:
            return ""
        return f"{_and(self.fixed)} cannot change while the service runs: stop it and start it again"

    def of(self, *kinds: Kind) -> tuple[str, ...]:
        """The groups with which this happens."""
        return tuple(change.group for change in self.changes if change.kind in kinds)

    def lines(self) -> Iterator[str]:
        """What is said before it is done."""
        return map(str, self.changes)


def difference(
    old: Plan, new: Plan, behind: Collection[str] = (), sizes: Mapping[str, int] | None = None
) -> Difference:
    """What `new` changes; groups that are `behind` have workers of an earlier plan than `old` and are replaced anyway.

    `new` says which modules need each other, `old` what was in them. `sizes` are the numbers of workers that groups
    have been given meanwhile.
    """
    if fixed := tuple(_fixed(old, new)):
        return Difference(fixed)
    before = {group.name: group for group in old.groups if not group.embedded}
    now = {group.name: group for group in new.groups if not group.embedded}
    common = tuple(_common(old, new))
    if sizes:
        before |= {name: replace(was, workers=sizes[name]) for name, was in before.items() if name in sizes}
    changes = [
        _change(before[name], group, common, old, new, behind=name in behind)
        if name in before
        else Change(name, "added", workers=(0, group.workers))
        for name, group in now.items()
    ]
    changes += [Change(name, "removed", workers=(was.workers, 0)) for name, was in before.items() if name not in now]
    both = [] if old.limits != new.limits else [(was, now[name]) for name, was in before.items() if name in now]
    before_do = frozenset(after.name for was, after in both if understand(was, after))
    after_do = frozenset(after.name for was, after in both if understand(after, was))
    return Difference((), tuple(changes), before_do, after_do)


def _fixed(old: Plan, new: Plan) -> Iterator[str]:
    """What is decided once, when the service starts."""
    roles = {group.name: group.role for group in old.groups}
    for group in new.groups:
        if roles.get(group.name, group.role) != group.role:
            yield f"the role of {group.name} (it would be another group: give it another name)"
    keys = {
        "config_path": "the configuration file",
        "state_dir": "the state directory",
        "host": "runtime.web.host",
        "port": "runtime.web.port",
        "transport": "execution_ipc.transport",
        "auth_mode": "execution_ipc.auth.mode",
        "secret": "the content of secret_file",
        "log_bytes": "runtime.log.max_bytes",
        "log_files": "runtime.log.files",
        "as_root": "whose service it is",
    }
    yield from (said for name, said in keys.items() if getattr(old, name) != getattr(new, name))
    limits = {"ttl": "execution_ipc.auth.ttl_seconds", "window": "execution_ipc.auth.nonce_cache_size"}
    yield from (said for name, said in limits.items() if getattr(old.limits, name) != getattr(new.limits, name))


def _common(old: Plan, new: Plan) -> Iterator[str]:
    """What every worker is told or finds, and is not as it was."""
    if (old.environment_pass, old.environment_set) != (new.environment_pass, new.environment_set):
        yield "environment"
    if old.limits != new.limits:
        yield "limits"
    if old.log != new.log:
        yield "log"


def _change(was: GroupPlan, now: GroupPlan, common: tuple[str, ...], old: Plan, new: Plan, *, behind: bool) -> Change:
    # What follows its load goes on from the size that it has.
    sizes = was.workers, now.workers if now.scaling is None else now.scaling.within(was.workers)
    if now.role == "command":
        common = ()  # it is told nothing of what workers have in common
    replaced = (*_code(now, old, new), *common, *_told(was, now))
    if replaced or behind:
        return Change(now.name, "changed", replaced, sizes)
    if adjusted := tuple(_differing(was, now, _SUPERVISED - {"workers"})):
        return Change(now.name, "adjusted", adjusted, sizes)
    return Change(now.name, "same" if sizes[0] == sizes[1] else "resized", (), sizes)


def _differing(was: GroupPlan, now: GroupPlan, names: Collection[str]) -> Iterator[str]:
    return (name for name in sorted(names) if getattr(was, name) != getattr(now, name))


def _told(was: GroupPlan, now: GroupPlan) -> Iterator[str]:
    """What its workers are told or confined by that is not as it was."""
    names = {each.name for each in fields(was)} - _SUPERVISED - {"settings"}
    yield from _differing(was, now, names)
    if type(was.settings) is not type(now.settings):
        yield "role"
        return
    before, after = (_without_places(group) for group in (was, now))
    for name in before.__struct_fields__:
        if getattr(before, name) != getattr(after, name) and name not in names:
            yield name


def _without_places(group: GroupPlan) -> WebSettings | ExecSettings | CommandSettings:
    """Its settings without what is said to people alone: in which line a node begins."""
    settings = group.settings
    if isinstance(settings, CommandSettings):
        return settings
    nodes = tuple(structs.replace(node, source="") for node in settings.nodes)
    if not isinstance(settings, WebSettings):
        return structs.replace(settings, nodes=nodes)
    # Those that live in it have the same nodes.
    embedded = tuple(
        structs.replace(each, settings=structs.replace(each.settings, nodes=())) for each in settings.embedded
    )
    return structs.replace(settings, nodes=nodes, embedded=embedded)


def _code(group: GroupPlan, old: Plan, new: Plan) -> Iterator[str]:
    before = {module.name: module.digest for module in old.described.modules}
    changed = [module for module in needed(group, new) if before.get(module.name) != module.digest]
    if changed:
        base = new.config_path.parent
        named = [_near(module.path, str(base)) for module in changed[:_MAX_NAMED]]
        more = len(changed) - len(named)
        yield f"code ({', '.join(named)}{f' and {more} more' if more else ''})"


def moved(old: Plan, new: Plan) -> frozenset[str]:
    """The groups whose workers import what is not in the files any more in which it was, be it the same again."""
    before = {module.name: module.stamp for module in old.described.modules}
    groups = {group.name: group for group in (*old.groups, *new.groups)}
    return frozenset(
        group.name
        for group in groups.values()
        if any(before.get(module.name) != module.stamp for module in needed(group, new))
    )


def needed(group: GroupPlan, plan: Plan) -> list[Module]:
    """The modules of the application that the group's workers import, or may import."""
    modules = {module.name: module for module in plan.described.modules}
    left, found = [part for root in _roots(group) for part in _on_the_way(root)], {}
    while left:
        module = modules.get(left.pop())
        if module is not None and module.name not in found:
            found[module.name] = module
            left += [part for need in module.needs for part in _on_the_way(need)]
    return [found[name] for name in sorted(found)]


def _roots(group: GroupPlan) -> Iterator[str]:
    """The names that its workers import first; what follows a module's is no module and does no harm."""
    settings = group.settings
    if isinstance(settings, WebSettings):
        yield settings.app.partition(":")[0]
        yield from (name.partition(":")[0] for endpoint in settings.endpoints for name in endpoint.dependencies)
        for embedded in settings.embedded:
            yield from (node.imported_from or node.name for node in embedded.settings.nodes)
    elif not isinstance(settings, CommandSettings):
        yield from (node.imported_from or node.name for node in settings.nodes)


def _on_the_way(dotted: str) -> Iterator[str]:
    parts = dotted.partition(":")[0].split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _near(path: str, base: str) -> str:
    return path.removeprefix(f"{base}/")


def _workers(number: int) -> str:
    return "worker" if number == 1 else "workers"


def _are(number: int) -> str:
    return f"{number} {_workers(number)} {'is' if number == 1 else 'are'}"


def _and(words: Collection[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
