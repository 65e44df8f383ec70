"""Path and query of a request as the scalar parameters of a node, checked and packed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, UnsetType

from ipc.errors import InvalidRequest, TooLarge
from ipc.shape import rebuild
from ipc.wire.frame import MAX_META

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from ipc.contract import Parameter

MAX_FIELDS = 256
"""Query fields of one request."""
MAX_PACKED = MAX_META - 1024
"""Bytes all parameters may take when packed: they travel beside the body, in a frame's meta."""
NONE = b""
_ENDLESS = re.compile(r"[+-]?(s?nan\d*|inf(inity)?)", re.IGNORECASE)
_pack = msgspec.msgpack.Encoder().encode


class Parameters:
    """The scalar parameters of one node. Types are rebuilt from the contract, so the node is not imported here."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._many = frozenset(p.name for p in parameters if p.many)
        self._names = frozenset(p.name for p in parameters)
        kinds = {p.name: _kinds(p.shape["root"]) for p in parameters if p.shape is not None}
        self._numbers = frozenset(
            name for name, made_of in kinds.items() if made_of & {"float", "decimal"} and "str" not in made_of
        )
        self._required = any(p.required for p in parameters)
        self._model = _model(parameters)

    def pack(self, query: bytes, path: Mapping[str, str] | None) -> bytes:
        """The parameters as msgpack; InvalidRequest with the name of the first that does not fit."""
        if not query and not path and not self._required:
            return NONE
        given: dict[str, Any] = dict(path) if path else {}
        if query and self._names:
            self._add(query, path or (), given)
        if self._numbers:
            for name in self._numbers & given.keys():
                _refuse_endless(name, given[name])
        return self.checked(given)

    def checked(self, given: Mapping[str, object]) -> bytes:
        """Parameters that are values already, as `pack` returns them; InvalidRequest as there."""
        try:
            packed = _pack(msgspec.convert(given, self._model, strict=False))
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error).replace("Object missing required field", "Missing parameter")) from None
        except OverflowError:
            raise InvalidRequest("A parameter is a number of more than 64 bits") from None
        if len(packed) > MAX_PACKED:
            raise TooLarge(f"the parameters take {len(packed)} bytes; at most {MAX_PACKED} are allowed")
        return packed

    def _add(self, query: bytes, taken: Container[str], given: dict[str, Any]) -> None:
        """What the query says of parameters that the path does not."""
        try:
            pairs = parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except UnicodeDecodeError:
            raise InvalidRequest("The query is not UTF-8") from None
        except ValueError:
            raise InvalidRequest(f"The query has more than {MAX_FIELDS} fields") from None
        for name, value in pairs:
            if name in self._many:
                given.setdefault(name, []).append(value)
            elif name in self._names and name not in taken:
                given[name] = value


def _kinds(part: Mapping[str, Any]) -> set[str]:
    """What a type is made of, alone, as a choice or in a list."""
    within = [*part.get("items", ()), *([part["item"]] if "item" in part else ())]
    return {part["is"]}.union(*map(_kinds, within))


def _refuse_endless(name: str, given: str | list[str]) -> None:
    """What no JSON can say is no number in a query either."""
    for text in given if isinstance(given, list) else (given,):
        if _ENDLESS.fullmatch(text.strip().replace("_", "")):  # as `Decimal` reads it
            raise InvalidRequest(f"Expected a finite number - at `$.{name}`")


def _model(parameters: Sequence[Parameter]) -> type[msgspec.Struct]:
    """A Struct with a field for each parameter; what is not given stays out of the packed map."""
    fields: list[Any] = []
    names: dict[str, str] = {}
    for number, parameter in enumerate(parameters):
        # Numbers, not names: whatever a parameter is called, it hides nothing that a Struct needs.
        field = f"p{number}"
        names[field] = parameter.name
        kind = rebuild(parameter.shape) if parameter.shape is not None else Any
        if parameter.required:
            fields.append((field, kind))
        else:
            fields.append((field, kind | UnsetType if kind is not Any else Any, UNSET))
    return msgspec.defstruct("Parameters", fields, rename=names, kw_only=True, frozen=True)
