"""The JSON schemas that many nodes share, each under a name of its own."""

# ruff: noqa: ANN401 - these are values of types that are known only at run time

import re
from collections.abc import Iterator, Mapping
from typing import Any

from exec_worker.codec import REF, Codec


class Components:
    """Schemas by name. One name never stands for two different schemas."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}

    def add(self, codec: Codec, *, output: bool) -> dict[str, Any]:
        """The schema of a type. What it refers to is taken in, and referred to by the name it has here.

        What would get the name of something else gets its module as a suffix, and so does everything that
        refers to it: it is something else too.
        """
        schema, parts = codec.schema(output=output)
        taken = {name for name, part in parts.items() if self.schemas.get(name, part) != part}
        while True:
            more = {name for name, part in parts.items() if name not in taken and taken & set(_refs(part))}
            if not more:
                break
            taken |= more
        names = {name: self._free(name, parts, codec.modules, taken) for name in parts}
        self.schemas.update({names[name]: _renamed(part, names) for name, part in parts.items()})
        named: dict[str, Any] = _renamed(schema, names)
        return named

    def _free(self, name: str, parts: Mapping[str, Any], modules: Mapping[str, str], taken: set[str]) -> str:
        if name not in taken:
            return name
        suffixed = {old: f"{old}_{re.sub(r'[^A-Za-z0-9_]', '_', modules.get(old, 'other'))}" for old in taken}
        first = wanted = suffixed[name]
        number = 1
        # The same type again, as another node's parameter, finds the place it has already.
        while wanted in parts or self.schemas.get(wanted, same := _renamed(parts[name], suffixed)) != same:
            number += 1
            wanted = f"{first}_{number}"
        return wanted


def _refs(schema: Any) -> Iterator[str]:
    """Every name referred to; a discriminator's mapping holds references as plain values."""
    if isinstance(schema, dict):
        for value in schema.values():
            yield from _refs(value)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from _refs(value)
    elif isinstance(schema, str) and schema.startswith(REF):
        yield schema.removeprefix(REF)


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        return {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_renamed(value, names) for value in schema]
    if isinstance(schema, str) and schema.startswith(REF):
        name = schema.removeprefix(REF)
        return REF + names.get(name, name)
    return schema
