"""YAML as a tree that remembers where everything was written. Reads text, touches no file.

Built on PyYAML's nodes rather than its objects: an object no longer knows its line. Only plain kinds of value
exist here: a tag that would make anything else is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from supervisor.errors import ConfigError

MAX_NODES = 100_000
"""The most keys and values of one document, aliases written out: no document multiplies itself."""
MAX_DEPTH = 32
"""How deep a document may nest; the configuration itself needs nine levels."""

_CORE = "tag:yaml.org,2002:"
_TYPED = {_CORE + "null", _CORE + "bool", _CORE + "int", _CORE + "float"}
_AS_WRITTEN = {_CORE + "str", _CORE + "timestamp", _CORE + "value"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where something was written: a line in a file, a variable, a flag."""

    name: str
    line: int = 0
    """Counted from 1; 0 where there are no lines to count."""
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: what YAML makes of it, and the text that stands there."""

    value: object
    text: str
    source: Source


@dataclass(slots=True)
class Row:
    """A list."""

    items: list[Tree]
    source: Source


@dataclass(slots=True)
class Table:
    """A mapping; `keys` says where each key was written, which may be elsewhere than its value."""

    items: dict[str, Tree]
    source: Source
    keys: dict[str, Source] = field(default_factory=dict)


Tree = Scalar | Row | Table


def parse(text: str, name: str, *, lines: bool = True) -> Tree:
    """The document in `text`; ConfigError for what is no YAML, or more of it than anybody needs.

    `lines=False` is for a value from a variable or a flag: its name alone says where it was written.
    """
    reader = _Reader(name, lines=lines)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return Scalar(None, "", reader.at(None)) if root is None else reader.read(root, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ": ".join(filter(None, (error.context, error.problem))) or "cannot be read"
        raise ConfigError(f"not valid YAML: {what}", where=str(reader.at(mark))) from None
    except yaml.YAMLError as error:  # a character YAML does not allow; it has a position and no line
        position = getattr(error, "position", 0)
        before = text[:position]
        source = Source(name, before.count("\n") + 1, position - before.rfind("\n")) if lines else Source(name)
        raise ConfigError("not valid YAML: a character that may not stand here", where=str(source)) from None


class _Loader(yaml.SafeLoader):
    """Counts while it reads, so that neither depth nor number is anybody's to choose but ours."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            _too_much(self.get_mark(), self._depth > MAX_DEPTH)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Makes a tree of composed nodes. Aliases are written out: no two places share a value."""

    def __init__(self, name: str, *, lines: bool) -> None:
        self._name = name
        self._lines = lines
        self._count = 0

    def at(self, mark: yaml.Mark | None) -> Source:
        if not self._lines or mark is None:
            return Source(self._name)
        return Source(self._name, mark.line + 1, mark.column + 1)

    def read(self, node: yaml.Node, loader: _Loader, depth: int = 1) -> Tree:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            _too_much(node.start_mark, depth > MAX_DEPTH)
        source = self.at(node.start_mark)
        match node:
            case yaml.ScalarNode():
                return self._scalar(node, loader, source)
            case yaml.SequenceNode() if node.tag == _CORE + "seq":
                return Row([self.read(item, loader, depth + 1) for item in node.value], source)
            case yaml.MappingNode() if node.tag == _CORE + "map":
                return self._table(node, loader, source, depth)
        raise self._tag_fault(node)

    def _table(self, node: yaml.MappingNode, loader: _Loader, source: Source, depth: int) -> Table:
        table = Table({}, source)
        merged: list[Tree] = []
        for key, value in node.value:
            where = self.at(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError("a key must be a plain word", where=str(where))
            if key.tag == _CORE + "merge":
                merged.append(self.read(value, loader, depth + 1))
                continue
            if (name := key.value) in table.items:
                first = table.keys[name]
                raise ConfigError(
                    f"the key '{name}' stands here for the second time",
                    where=str(where),
                    hint=f"the first is at {first}; keep one of them",
                )
            table.items[name] = self.read(value, loader, depth + 1)
            table.keys[name] = where
        for tree in merged:
            self._merge(tree, table)
        return table

    def _merge(self, tree: Tree, into: Table) -> None:
        """`<<`: what a mapping does not say itself, it takes from the first of them that does."""
        for origin in tree.items if isinstance(tree, Row) else [tree]:
            if not isinstance(origin, Table):
                raise ConfigError("'<<' takes a mapping or a list of mappings", where=str(origin.source))
            for name, value in origin.items.items():
                if name not in into.items:
                    into.items[name] = value
                    into.keys[name] = origin.keys[name]

    def _scalar(self, node: yaml.ScalarNode, loader: _Loader, source: Source) -> Scalar:
        if node.tag in _AS_WRITTEN:
            return Scalar(node.value, node.value, source)
        if node.tag not in _TYPED:
            raise self._tag_fault(node)
        try:
            return Scalar(loader.construct_object(node), node.value, source)
        except (ValueError, LookupError):  # `!!int x`, or digits without end
            raise ConfigError(f"{node.value[:40]!r} is not a value of its kind", where=str(source)) from None

    def _tag_fault(self, node: yaml.Node) -> ConfigError:
        tag = node.tag.replace(_CORE, "!!")
        return ConfigError(
            f"the tag '{tag}' has no meaning here",
            where=str(self.at(node.start_mark)),
            hint="write the plain value",
        )


def _too_much(mark: yaml.Mark, deep: bool) -> NoReturn:
    what = f"nested deeper than {MAX_DEPTH} levels" if deep else f"more than {MAX_NODES} keys and values"
    raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)
