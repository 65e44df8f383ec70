"""Declared endpoints bound to described nodes: what a web worker will serve, or why it cannot. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import UNSET

from ipc.hints import suggest
from ipc.messages.settings import EndpointSettings
from ipc.pipeline import joined, same_kind
from supervisor.errors import ConfigError
from supervisor.fit import misfit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ipc.contract import Described, NodeContract, Parameter
    from supervisor.config import Config, Endpoint, Interface

RESERVED = ("/healthz", "/readyz")
"""Paths at which a web worker says how it is."""
DOCUMENTATION = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
"""Paths of the API's documentation, reserved while it is served."""
WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
"""Methods whose requests carry no body that anybody is bound to look at."""
NO_CONTENT = frozenset({204, 205})
"""Statuses of answers that have no body."""

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEGMENT = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}|[^/{}?#%\s\x00-\x1f\x7f]*")


def bind(
    config: Config, described: Described, routes: Mapping[str, str]
) -> tuple[tuple[EndpointSettings, ...], list[ConfigError]]:
    """Every endpoint as a web worker needs it, and every fault in them."""
    binder = _Binder(config, described, routes)
    for n, interface in enumerate(config.runtime.web.interfaces):
        binder.take(interface, f"runtime.web.interfaces.{n}")
    return tuple(binder.bound), binder.faults


class _Binder:
    def __init__(self, config: Config, described: Described, routes: Mapping[str, str]) -> None:
        self.bound: list[EndpointSettings] = []
        self.faults: list[ConfigError] = []
        self._web = config.runtime.web
        self._components = described.components
        self._nodes = {node.name: node for node in described.nodes}
        # Where the application could not be read whole, a node may be missing for that reason alone.
        self._complete = not described.faults
        self._routes = routes
        self._taken: dict[tuple[str, str], tuple[str, str]] = {}

    def take(self, interface: Interface, key: str) -> None:
        if set(interface.binds) != {"request", "response"}:
            self.faults.append(
                ConfigError(
                    "in this version an 'http' interface binds request and response, and nothing else",
                    key=f"{key}.binds",
                    hint="write binds: [request, response]",
                )
            )
        for n, endpoint in enumerate(interface.endpoints):
            self._endpoint(interface, endpoint, f"{key}.endpoints.{n}")

    def _endpoint(self, interface: Interface, endpoint: Endpoint, key: str) -> None:
        node = self._contract(endpoint, key)
        methods = _methods(endpoint, node)
        path = interface.prefix + endpoint.path
        timeout = self._web.default_timeout_seconds
        if endpoint.timeout_seconds is not UNSET:
            timeout = endpoint.timeout_seconds
            if timeout > self._web.max_timeout_seconds:
                self._fault(
                    f"{timeout:g} s is longer than any endpoint may take",
                    f"{key}.timeout_seconds",
                    f"runtime.web.max_timeout_seconds is {self._web.max_timeout_seconds:g}",
                )
        if interface.dependencies and endpoint.through_app is False:
            self._fault(
                "the interface's dependencies run in the FastAPI app, which this endpoint goes around",
                f"{key}.through_app",
                "leave through_app out, or put the endpoint under an interface without dependencies",
            )
        self._path(path, endpoint, key)
        self._places(path, methods, key)
        if node is not None:
            self.faults += _check_node(node, path, methods, endpoint.status, key, _told(endpoint, node))
        through_app = bool(interface.dependencies) if endpoint.through_app is UNSET else endpoint.through_app
        first = endpoint.stages[0] if endpoint.stages else ""
        self.bound.append(
            EndpointSettings(
                path=path,
                methods=methods,
                node=first,
                group=self._routes.get(first, ""),
                timeout=timeout,
                through_app=through_app,
                dependencies=interface.dependencies,
                tags=(*interface.tags, *endpoint.tags),
                status=endpoint.status,
                priority=endpoint.priority,
                max_concurrency=0 if endpoint.max_concurrency is UNSET else endpoint.max_concurrency,
                pipeline=() if endpoint.pipeline is UNSET else endpoint.pipeline,
            )
        )

    def _contract(self, endpoint: Endpoint, key: str) -> NodeContract | None:
        """What the endpoint takes and gives; None if that cannot be said, of which there is a fault then."""
        if (endpoint.node is UNSET) == (endpoint.pipeline is UNSET):
            told = "neither a node nor a pipeline" if endpoint.node is UNSET else "a node and a pipeline"
            self._fault(f"the endpoint names {told}", key, "write node: for one, pipeline: for several in a row")
            return None
        for n, name in enumerate(endpoint.stages):
            if name not in self._nodes and self._complete:
                hint = suggest(name, list(self._nodes)[:20], "nodes that were found:")
                self._fault(
                    f"there is no node {name}",
                    f"{key}.{endpoint.key_of(n)}",
                    hint or "nothing was found: list the application's packages under discovery.packages",
                )
        stages = [self._nodes[name] for name in endpoint.stages if name in self._nodes]
        if len(stages) < len(endpoint.stages):
            return None
        for n, (before, after) in enumerate(pairwise(stages), 1):
            if why := misfit(before, after, self._components):
                self._fault(why, f"{key}.pipeline.{n}")
            gathers = next((stage for stage in (before, after) if stage.batch is not None), None)
            if gathers and self._routes.get(before.name) == self._routes.get(after.name):
                self._fault(
                    f"{gathers.name} runs in batches, and {before.name} and {after.name} would run as one call",
                    f"{key}.pipeline.{n}",
                    "give it a stage of its own, and that to a group of its own",
                )
        self._parameters(stages, key)
        return joined(stages)

    def _parameters(self, stages: Sequence[NodeContract], key: str) -> None:
        """Path and query give a name one value, for whichever stages take it."""
        known: dict[str, tuple[NodeContract, Parameter]] = {}
        for n, stage in enumerate(stages):
            for parameter in stage.parameters:
                other, first = known.setdefault(parameter.name, (stage, parameter))
                if not same_kind(first, parameter):
                    self._fault(
                        f"'{parameter.name}' of {stage.name} is of another type than that of {other.name}",
                        f"{key}.pipeline.{n}",
                        "give one of the parameters another name",
                    )

    def _path(self, path: str, endpoint: Endpoint, key: str) -> None:
        where = f"{key}.path"
        if not endpoint.path.startswith("/"):
            self._fault(f"the path '{endpoint.path}' does not start with '/'", where, f"write /{endpoint.path}")
        for segment in path.split("/"):
            if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
                self._fault(
                    f"'{segment}' cannot be a part of a path",
                    where,
                    "a part is plain text, or one parameter alone: /thumbnails/{size}",
                )
        names = _PARAMETER.findall(path)
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._fault(f"the path has two parameters named '{name}'", where)
        if path in RESERVED:
            self._fault(f"the path {path} is taken: there a web worker says how it is", where)
        if path in DOCUMENTATION and self._web.docs:
            self._fault(
                f"the path {path} is taken by the API's documentation",
                where,
                "choose another one, or switch the documentation off: runtime.web.docs: false",
            )

    def _places(self, path: str, methods: tuple[str, ...], key: str) -> None:
        # A parameter's name does not matter to the matching: /a/{x} and /a/{y} are one place.
        shape = _PARAMETER.sub("{}", path)
        for method in methods:
            other, others_path = self._taken.setdefault((shape, method), (key, path))
            if other != key:
                same = "" if others_path == path else f", which matches the same paths as {others_path}"
                self._fault(
                    f"{method} {path} is declared for the second time{same}",
                    f"{key}.path",
                    f"the first is {other}",
                )
        if len(set(methods)) < len(methods):
            self._fault("a method is listed twice", f"{key}.methods")

    def _fault(self, what: str, key: str, hint: str = "") -> None:
        self.faults.append(ConfigError(what, key=key, hint=hint))


def _methods(endpoint: Endpoint, node: NodeContract | None) -> tuple[str, ...]:
    if endpoint.methods is not UNSET:
        return endpoint.methods
    return ("POST",) if node is not None and node.body is not None else ("GET",)


def _told(endpoint: Endpoint, node: NodeContract) -> str:
    """The endpoint's node or nodes, as a message names them."""
    if endpoint.node is UNSET:
        return "the pipeline"
    return f"{node.name} ({node.source})" if node.source else node.name


def _check_node(
    node: NodeContract, path: str, methods: tuple[str, ...], status: int, key: str, at: str
) -> Iterator[ConfigError]:
    parameters = {parameter.name: parameter for parameter in node.parameters}
    for name in dict.fromkeys(_PARAMETER.findall(path)):
        if name in parameters and parameters[name].many:
            yield ConfigError(
                f"the parameter '{name}' of {at} is a list, and a path gives one value", key=f"{key}.path"
            )
        elif name not in parameters:
            in_body = node.body is not None and node.body.name == name
            yield ConfigError(
                f"'{name}' of {at} comes from the body, not from the path"
                if in_body
                else f"the path names '{name}', which is no parameter of {at}",
                key=f"{key}.path",
                hint="" if in_body else suggest(name, list(parameters), "its parameters:"),
            )
    if node.body is not None and node.body.required and (wrong := sorted(WITHOUT_BODY.intersection(methods))):
        yield ConfigError(
            f"{' and '.join(wrong)} requests carry no body, and {at} takes '{node.body.name}' from it",
            key=f"{key}.methods",
            hint="use POST, PUT or PATCH",
        )
    if status in NO_CONTENT and not (node.result.kind == "json" and node.result.json_schema == {"type": "null"}):
        yield ConfigError(
            f"an answer with status {status} has no body, and {at} returns one",
            key=f"{key}.status",
            hint="use 200, or let the node return None",
        )
