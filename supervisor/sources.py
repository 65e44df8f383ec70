"""Where a configuration comes from: a file, then the environment, then `--set`, each over the one before."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_origin

from msgspec import Struct

from ipc.hints import nearest, suggest
from supervisor.config import Config
from supervisor.decode import all_keys, decode, keys_of, unwrap
from supervisor.document import Row, Scalar, Source, Table, Tree, parse
from supervisor.errors import ConfigError, ConfigFaults
from supervisor.files import read_config
from supervisor.process_group import WEB, ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FILE_NAME = "shunter.yaml"
PREFIX = "SHUNTER__"
_MISSPELT = re.compile(r"SHUNTER_(RUNTIME|DISCOVERY)_", re.IGNORECASE)
MAX_OVERRIDE = 64 * 1024
"""The longest value of one variable or flag, characters."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each of its values was written."""

    config: Config
    path: Path
    """The configuration file, absolute."""
    tree: Tree = field(repr=False)
    """What was written, variables that are secrets among it."""

    def where(self, key: str) -> str:
        """The place of the value of a dotted key, or of the nearest thing around it that was written at all."""
        tree = self.tree
        for part in key.split("."):
            match tree:
                case Table() if part in tree.items:
                    tree = tree.items[part]
                case Row() if part.isdecimal() and int(part) < len(tree.items):
                    tree = tree.items[int(part)]
                case _:
                    break
        return str(tree.source)


@dataclass(frozen=True, slots=True)
class Override:
    """One value that stands over the file's."""

    origin: str
    """What people are told: `SHUNTER__RUNTIME__WEB__PORT`, `--set runtime.web.port`."""
    parts: tuple[str, ...]
    joint: str
    """What stands between the parts: `__` or `.`."""
    text: str = field(repr=False)


def find_file(given: Path | None) -> Path:
    """The absolute path of the file that was named, or of `shunter.yaml` in the current directory.

    Nothing above that is looked at: what lies there may be somebody else's.
    """
    try:
        path = (given or Path(FILE_NAME)).absolute()
        # The directory is where the name lies, also if that is a link to a file elsewhere.
        path = path.parent.resolve() / path.name
        path.stat()
    except FileNotFoundError:
        if given is None or given == Path(FILE_NAME):
            hint = "go to its directory, or name it: -c FILE"
            raise ConfigError(f"there is no {FILE_NAME} in this directory", hint=hint) from None
        raise ConfigError(f"there is no file {given}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{given} cannot be opened: {getattr(error, 'strerror', error)}") from None
    return path


def load(path: Path, environ: Mapping[str, str], settings: Sequence[str]) -> Loaded:
    """The configuration from a file, the variables and the `--set` arguments; ConfigError with all faults."""
    name = _short(path)
    tree = parse(read_config(path), name)
    if isinstance(tree, Scalar) and tree.value is None:  # a file with nothing in it: all defaults
        tree = Table({}, Source(name, 1, 1))
    found: list[ConfigError] = []
    for override in _overrides(environ, settings, found):
        try:
            place(tree, override)
        except ConfigError as error:
            found.append(error)
    try:
        config = decode(tree)
    except ConfigError as error:
        found.extend(error.faults)
    ConfigFaults.raise_for(found)
    return Loaded(config, path, tree)


def _short(path: Path) -> str:
    """A path as people would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _overrides(environ: Mapping[str, str], settings: Sequence[str], found: list[ConfigError]) -> Iterable[Override]:
    seen: dict[str, str] = {}
    for name in sorted(environ):
        upper = name.upper()
        if upper.startswith(PREFIX):
            if (other := seen.setdefault(upper, name)) != name:
                found.append(ConfigError(f"the variables {other} and {name} set the same key", where=name))
            yield Override(name, tuple(name[len(PREFIX) :].split("__")), "__", environ[name])
        elif _MISSPELT.match(name):
            right = PREFIX + name[len("SHUNTER_") :].lstrip("_")
            found.append(ConfigError("this variable sets nothing", where=name, hint=f"did you mean {right}?"))
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            found.append(ConfigError(f"--set {setting}: expected KEY=VALUE", hint="such as runtime.web.port=9000"))
            continue
        yield Override(f"--set {key}", tuple(key.split(".")), ".", text)


def place(root: Tree, override: Override) -> None:
    """Put one value where it belongs in the tree; ConfigError if there is no such place."""
    if len(override.text) > MAX_OVERRIDE:
        raise ConfigError(f"longer than {MAX_OVERRIDE} characters", where=override.origin)
    value = parse(override.text, override.origin, lines=False)
    _Placer(override, value).descend(root, Config, 0)


class _Placer:
    """Follows one key through tree and types; makes the sections on its way that nobody has written yet."""

    def __init__(self, override: Override, value: Tree) -> None:
        self._override = override
        self._value = value
        self._source = Source(override.origin)

    def descend(self, tree: Tree, annotation: object, depth: int) -> None:
        kind, _ = unwrap(annotation)
        if isinstance(kind, type) and issubclass(kind, Struct):
            self._section(tree, kind, depth)
        elif get_origin(kind) is dict:
            # The rest is one name, whatever it contains: FOO__BAR is a fine variable.
            self._put(tree, self._override.joint.join(self._override.parts[depth:]))
        elif get_origin(kind) is tuple:
            self._list(tree, get_args(kind)[0], depth)
        else:
            raise self._nothing_below(depth)

    def _empty(self, annotation: object, depth: int) -> Tree:
        kind, _ = unwrap(annotation)
        if get_origin(kind) is tuple:
            return Row([], self._source)
        if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Struct)):
            return Table({}, self._source)
        raise self._nothing_below(depth)

    def _nothing_below(self, depth: int) -> ConfigError:
        return self._fault(f"there is nothing below '{self._name(depth)}'")

    def _section(self, tree: Tree, section: type[Struct], depth: int) -> None:
        part = self._override.parts[depth]
        known = keys_of(section)
        name = part.lower() if self._override.joint == "__" else part
        if name not in known:
            raise self._unknown(part, list(known), depth)
        if depth + 1 == len(self._override.parts):
            self._put(tree, name)
            return
        if not isinstance(tree, Table):
            raise self._mismatch("a mapping", tree, depth)
        if name not in tree.items:
            tree.items[name] = self._empty(known[name].type, depth + 1)
            tree.keys[name] = self._source
        self.descend(tree.items[name], known[name].type, depth + 1)

    def _list(self, tree: Tree, items: object, depth: int) -> None:
        if not isinstance(tree, Row):
            raise self._mismatch("a list", tree, depth)
        part = self._override.parts[depth]
        if part.isdecimal():
            if (index := int(part)) >= len(tree.items):
                raise self._fault(f"'{self._name(depth)}' has {len(tree.items)} items, counted from 0")
        else:
            index = self._by_name(tree, unwrap(items)[0], part.lower(), depth)
        if depth + 1 == len(self._override.parts):
            tree.items[index] = self._value
        else:
            self.descend(tree.items[index], items, depth + 1)

    def _by_name(self, tree: Row, item: object, name: str, depth: int) -> int:
        if not (isinstance(item, type) and issubclass(item, Struct) and "name" in keys_of(item)):
            raise self._fault(f"an item of '{self._name(depth)}' is named by its number, counted from 0")
        names = [_name_of(item) for item in tree.items]
        if name not in names and item is ProcessGroup and name == WEB:  # it exists without being written
            written = Scalar(WEB, WEB, self._source)
            tree.items.append(Table({"name": written}, self._source, {"name": self._source}))
            return len(tree.items) - 1
        if name not in names:
            hint = suggest(name, [known for known in (*names, WEB) if known], "there are")
            raise self._fault(f"'{self._name(depth)}' has no item named '{name}'", hint)
        return names.index(name)

    def _put(self, tree: Tree, name: str) -> None:
        if not isinstance(tree, Table):
            raise self._mismatch("a mapping", tree, len(self._override.parts) - 1)
        tree.items[name] = self._value
        tree.keys[name] = self._source

    def _name(self, depth: int) -> str:
        return self._override.joint.join(self._override.parts[:depth])

    def _unknown(self, part: str, known: list[str], depth: int) -> ConfigError:
        parts = self._override.parts
        # Wrong from the first word on, it may be right but for what is missing or stands between.
        words = (nearest(".".join(parts), list(all_keys())) or "").split(".") if depth == 0 else [""]
        if words == [""]:
            right = nearest(part, known)
            words = [*parts[:depth], right, *parts[depth + 1 :]] if right else []
        if not words:
            return self._fault(f"there is no key '{part}'", suggest(part, known, "known here:"))
        meant = self._override.joint.join(words)
        hint = PREFIX + meant.upper() if self._override.joint == "__" else meant
        return self._fault(f"there is no key '{part}'", f"did you mean {hint}?")

    def _mismatch(self, expected: str, tree: Tree, depth: int) -> ConfigError:
        return self._fault(f"'{self._name(depth)}' is not {expected} at {tree.source}")

    def _fault(self, what: str, hint: str = "") -> ConfigError:
        return ConfigError(what, where=self._override.origin, hint=hint)


def _name_of(tree: Tree) -> str:
    named = tree.items.get("name") if isinstance(tree, Table) else None
    return named.text if isinstance(named, Scalar) else ""
