"""Which endpoint a path and a method belong to. Exact paths are found in one step, the others by their patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from starlette.routing import compile_path

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

E = TypeVar("E")


class Found(NamedTuple, Generic[E]):
    """A path that is ours. `endpoint` is None if it does not take the method; `allowed` says which it does."""

    endpoint: E | None
    values: Mapping[str, str] | None
    allowed: tuple[str, ...]


class Table(Generic[E]):
    """The declared endpoints of one web worker."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, E]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, E]]] = []
        self._templates: dict[str, dict[str, E]] = {}

    def add(self, path: str, methods: tuple[str, ...], endpoint: E) -> None:
        """Bind a path (`/thumbnails/{size}`) and its methods to an endpoint."""
        by_method = self._templates.get(path)
        if by_method is None:
            by_method = self._templates[path] = {}
            if "{" in path:
                self._patterns.append((compile_path(path)[0], by_method))
            else:
                self._exact[path] = by_method
        for method in methods:
            by_method[method] = endpoint

    def find(self, method: str, path: str) -> Found[E] | None:
        """Where a request goes; None if the path is none of ours."""
        by_method = self._exact.get(path)
        if by_method is not None:
            return Found(by_method.get(method), None, tuple(by_method))
        for pattern, methods in self._patterns:
            if (match := pattern.match(path)) is not None:
                return Found(methods.get(method), match.groupdict(), tuple(methods))
        return None
