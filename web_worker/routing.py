"""Which endpoint a path and a method belong to. Exact paths are found in one step, the others by their patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from starlette.routing import compile_path

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

E = TypeVar("E")


class Found(NamedTuple, Generic[E]):
    """A path that is known. `endpoint` is None if it is not ours with this method; `allowed` says which are."""

    endpoint: E | None
    values: Mapping[str, str] | None
    allowed: tuple[str, ...]


class _Place(Generic[E]):
    """One path."""

    __slots__ = ("allowed", "by_method", "other")

    def __init__(self) -> None:
        self.by_method: dict[str, Found[E]] = {}
        self.allowed: tuple[str, ...] = ()
        self.other: Found[E] = Found(None, None, ())

    def take(self, methods: Iterable[str], endpoint: E) -> None:
        self.allowed = tuple(dict.fromkeys((*self.allowed, *methods)))
        endpoints = {method: found.endpoint for method, found in self.by_method.items()}
        endpoints |= dict.fromkeys(methods, endpoint)
        self.by_method = {method: Found(each, None, self.allowed) for method, each in endpoints.items()}
        self.other = Found(None, None, self.allowed)


class Table(Generic[E]):
    """The declared endpoints of one web worker, and the paths that are the app's."""

    def __init__(self) -> None:
        self._exact: dict[str, _Place[E]] = {}
        self._patterns: list[tuple[re.Pattern[str], _Place[E]]] = []
        self._by_template: dict[str, _Place[E]] = {}
        self._mounted: tuple[str, ...] = ()

    def add(self, path: str, methods: Iterable[str], endpoint: E) -> None:
        """Bind a path (`/thumbnails/{size}`) and its methods to an endpoint."""
        self._place(path).take(tuple(methods), endpoint)

    def reserve(self, path: str) -> None:
        """Leave an exact path to the app, even where a pattern of ours would match it."""
        self._place(path)

    def reserve_below(self, prefix: str) -> None:
        """Leave whatever begins with `prefix/` to the app, but for exact paths of ours."""
        self._mounted = (*self._mounted, prefix.rstrip("/") + "/")

    def find(self, method: str, path: str) -> Found[E] | None:
        """Where a request goes; None if nothing is known of the path."""
        place = self._exact.get(path)
        if place is not None:
            return place.by_method.get(method, place.other)
        if self._patterns and not path.startswith(self._mounted):
            return self._match(method, path)
        return None

    def _match(self, method: str, path: str) -> Found[E] | None:
        """The first pattern that takes path and method; else that somebody takes the path with other methods."""
        allowed: tuple[str, ...] = ()
        for pattern, place in self._patterns:
            if (match := pattern.match(path)) is not None:
                found = place.by_method.get(method)
                if found is not None:
                    return Found(found.endpoint, match.groupdict(), place.allowed)
                allowed += place.allowed
        return Found(None, None, tuple(dict.fromkeys(allowed))) if allowed else None

    def _place(self, path: str) -> _Place[E]:
        place = self._by_template.get(path)
        if place is None:
            place = self._by_template[path] = _Place()
            if "{" in path:
                self._patterns.append((compile_path(path)[0], place))
            else:
                self._exact[path] = place
        return place
