"""From a tree of values to the configuration: every fault in it, each with its place. Pure.

The types in `supervisor.config` are the only description of what is allowed; this reads them.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, UnsetType
from msgspec.structs import FieldInfo, fields

from ipc.hints import nearest, suggest
from supervisor.config import Config
from supervisor.document import Row, Scalar, Source, Table, Tree
from supervisor.errors import ConfigError, ConfigFaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Key = tuple[str | int, ...]
"""The way to a value: `("runtime", "web", "interfaces", 0, "kind")`."""
MAX_FAULTS = 50
"""How many faults are told at once; beyond that the file is not what it is taken for."""


def decode(tree: Tree) -> Config:
    """The configuration that `tree` describes; ConfigError with every fault otherwise."""
    found: list[ConfigError] = []
    plain = _Decoder(found).value(tree, Config, ())
    ConfigFaults.raise_for(found[:MAX_FAULTS])
    return msgspec.convert(plain, Config)


def dotted(key: Key) -> str:
    """A key as people write it, and as `--set` takes it."""
    return ".".join(map(str, key))


def unwrap(annotation: Any) -> tuple[Any, Meta]:  # noqa: ANN401 -- an annotation has no type
    """A type without its wrapping, and what is known of its bounds; of several the first."""
    meta = Meta()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, meta = annotation.__origin__, annotation.__metadata__[-1]
        elif get_origin(annotation) in {Union, types.UnionType}:
            annotation = next(kind for kind in get_args(annotation) if kind is not UnsetType)
        else:
            return annotation, meta


def _meant(annotation: object, tree: Tree) -> object:
    """Of a list, a mapping and a word, whichever stands there."""
    if get_origin(annotation) in {Union, types.UnionType}:
        kinds = [kind for kind in get_args(annotation) if kind is not UnsetType]
        forms = [_form_of(unwrap(kind)[0]) for kind in kinds]
        form = next((form for form in forms if isinstance(tree, form)), Scalar if Scalar in forms else forms[0])
        return kinds[forms.index(form)]
    return annotation


def _form_of(kind: object) -> type[Tree]:
    """How people write it."""
    if get_origin(kind) is tuple:
        return Row
    return Table if isinstance(kind, type) and issubclass(kind, Struct) else Scalar


def keys_of(section: type[Struct]) -> dict[str, FieldInfo]:
    """The keys of a section by the names people write."""
    return {info.encode_name: info for info in fields(section)}


def all_keys(kind: object = Config, prefix: str = "") -> Iterator[str]:
    """Every key there is; `<name>` or `<n>` stands for an item of a list."""
    kind, _ = unwrap(kind)
    if isinstance(kind, type) and issubclass(kind, Struct):
        for name, info in keys_of(kind).items():
            yield prefix + name
            yield from all_keys(info.type, f"{prefix}{name}.")
    elif get_origin(kind) is tuple:
        item, _ = unwrap(get_args(kind)[0])
        if isinstance(item, type) and issubclass(item, Struct):
            yield from all_keys(item, f"{prefix}{'<name>' if 'name' in keys_of(item) else '<n>'}.")


class _Decoder:
    """Walks tree and types side by side and notes what does not fit."""

    def __init__(self, found: list[ConfigError]) -> None:
        self._found = found

    def value(self, tree: Tree, annotation: object, key: Key) -> object:
        annotation = _meant(annotation, tree)
        kind, meta = unwrap(annotation)
        origin = get_origin(kind)
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self._section(tree, kind, key)
        if origin is dict:
            return self._mapping(tree, *get_args(kind), key=key)
        if origin is tuple:
            return self._list(tree, get_args(kind)[0], meta, key)
        return self._scalar(tree, kind, annotation, meta, key)

    def _section(self, tree: Tree, section: type[Struct], key: Key) -> object:
        if not isinstance(tree, Table):
            self._note(f"expected a mapping, got {_told(tree)}", tree.source, key)
            return None
        known = keys_of(section)
        # Of a kind of interface that does not exist here, only that is worth telling.
        if "kind" in known and "kind" in tree.items and not self._fits(tree.items["kind"], known["kind"], key):
            return None
        plain: dict[str, object] = {}
        for name, item in tree.items.items():
            if name in known:
                plain[name] = self.value(item, known[name].type, (*key, name))
            else:
                self._unknown(name, tree.keys[name], known, key)
        for name, info in known.items():
            if info.required and name not in tree.items:
                self._note(f"the key '{name}' is missing", tree.source, key)
        return plain

    def _fits(self, tree: Tree, info: FieldInfo, key: Key) -> bool:
        before = len(self._found)
        self.value(tree, info.type, (*key, info.encode_name))
        return len(self._found) == before

    def _unknown(self, name: str, source: Source, known: dict[str, FieldInfo], key: Key) -> None:
        # A right name in a wrong place is likelier than another name that looks like it.
        elsewhere = next((full for full in all_keys() if full.rpartition(".")[2] == name), None)
        hint = f"did you mean '{elsewhere}'?" if elsewhere else suggest(name, list(known), "known here:")
        self._note(f"unknown key '{name}'", source, (*key, name), hint)

    def _mapping(self, tree: Tree, keys: object, values: object, *, key: Key) -> object:
        if not isinstance(tree, Table):
            self._note(f"expected a mapping, got {_told(tree)}", tree.source, key)
            return None
        for name, source in tree.keys.items():
            self._scalar(Scalar(name, name, source), str, keys, unwrap(keys)[1], key)
        return {name: self.value(item, values, (*key, name)) for name, item in tree.items.items()}

    def _list(self, tree: Tree, items: object, meta: Meta, key: Key) -> object:
        if not isinstance(tree, Row):
            self._note(f"expected a list, got {_told(tree)}", tree.source, key, "write it as [one, two]")
            return None
        if len(tree.items) < (meta.min_length or 0):
            self._note("expected at least one item, got an empty list", tree.source, key)
        if meta.max_length is not None and len(tree.items) > meta.max_length:
            self._note(f"{len(tree.items)} items, {meta.max_length} are the most", tree.source, key)
        return [self.value(item, items, (*key, n)) for n, item in enumerate(tree.items)]

    def _scalar(self, tree: Tree, kind: object, annotation: object, meta: Meta, key: Key) -> object:
        extra: dict[str, Any] = meta.extra or {}
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        if isinstance(tree, Scalar):
            # A text is what stands there: `title: 2024` and `set: {FLAG: no}` mean what they look like.
            value = tree.text if (kind is str or choices) and tree.value is not None else tree.value
            if (sentence := extra.get("not_yet", {}).get(value)) is not None:
                self._note(sentence, tree.source, key)
                return None
            try:
                return msgspec.convert(value, annotation)
            except msgspec.ValidationError:
                pass
        near = nearest(tree.text, choices) if isinstance(tree, Scalar) else None
        hint = f"did you mean '{near}'?" if near else ""
        says = extra.get("says") or (_choice(choices) if choices else _bounds(kind, meta))
        self._note(f"expected {says}, got {_told(tree)}", tree.source, key, hint)
        return None

    def _note(self, what: str, source: Source, key: Key, hint: str = "") -> None:
        self._found.append(ConfigError(what, where=str(source), key=dotted(key), hint=hint))


def _told(tree: Tree) -> str:
    """What somebody wrote, short enough for a message."""
    match tree:
        case Table():
            return "a mapping"
        case Row():
            return "a list"
        case Scalar(value=None):
            return "nothing (null)"
        case Scalar(value=str(), text=""):
            return "an empty text"
        case Scalar(value=str(text)):
            return repr(text if len(text) <= 60 else text[:57] + "...")  # noqa: PLR2004 -- one line of a terminal
    return tree.text[:60]


def _choice(choices: Sequence[str]) -> str:
    *rest, last = (f"'{choice}'" for choice in choices)
    return f"{', '.join(rest)} or {last}" if rest else last


def _bounds(kind: object, meta: Meta) -> str:
    if kind is bool:
        return "true or false"
    word = "a whole number" if kind is int else "a text"
    if meta.ge is not None and meta.le is not None:
        return f"{word} from {meta.ge} to {meta.le}"
    return word
