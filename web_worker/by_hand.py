"""The arguments of a call that an operator makes, checked as those of a request to an endpoint are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ipc.decoding.jsontext import json_value, weigh_json
from ipc.decoding.limits import UNREADABLE, told
from ipc.errors import InvalidRequest
from ipc.hints import suggest
from ipc.messages.calls import Encoding
from ipc.shape import rebuild
from web_worker.endpoints.parameters import Parameters

if TYPE_CHECKING:
    from ipc.contract import Body, NodeContract

_NO_PARAMETERS = b"\x80"
_named = msgspec.json.Decoder(dict[str, msgspec.Raw])


def packed(contract: NodeContract, arguments: bytes, body: bytes | None) -> tuple[bytes, bytes, Encoding]:
    """Parameters, body and the body's encoding; InvalidRequest with what does not fit."""
    try:
        if not isinstance(json_value(arguments), dict):
            raise InvalidRequest("the parameters are given as a JSON object, by their names")
        given = {name: bytes(raw) for name, raw in _named.decode(arguments).items()}
    except UNREADABLE as error:
        raise InvalidRequest(told(error)) from None
    wanted = contract.body
    names = [*(parameter.name for parameter in contract.parameters), *([wanted.name] if wanted is not None else ())]
    for name in given:
        if name not in names:
            raise InvalidRequest(
                f"{contract.name} has no parameter '{name}'; {suggest(name, names, 'it has') or 'it has none'}"
            )
    sent, encoding = _body(contract.name, wanted, given, body)
    values: dict[str, Any] = {name: msgspec.json.decode(raw) for name, raw in given.items()}
    parameters = Parameters(contract.parameters).checked(values) if contract.parameters else b""
    return parameters or _NO_PARAMETERS, sent, encoding


def _body(node: str, wanted: Body | None, given: dict[str, bytes], body: bytes | None) -> tuple[bytes, Encoding]:
    """The body and what it is made of; it is taken out of what was given by name."""
    if wanted is None:
        if body is not None:
            raise InvalidRequest(f"{node} takes no body")
        return b"", Encoding.NONE
    named = given.pop(wanted.name, None)
    if named is not None and body is not None:
        raise InvalidRequest(f"`{wanted.name}` is given twice: among the parameters and as the body")
    if wanted.kind == "bytes":
        return _raw(wanted, named, body)
    value = named if body is None else body
    if not value:
        if wanted.required:
            raise InvalidRequest(f"`{wanted.name}` is required")
        return b"", Encoding.NONE
    try:
        weigh_json(value)
        if wanted.shape is not None:
            msgspec.json.Decoder(rebuild(wanted.shape)).decode(value)
    except UNREADABLE as error:
        raise InvalidRequest(f"`{wanted.name}`: {told(error)}") from None
    return value, Encoding.JSON


def _raw(wanted: Body, named: bytes | None, body: bytes | None) -> tuple[bytes, Encoding]:
    if named is not None:
        raise InvalidRequest(f"`{wanted.name}` is bytes, which JSON cannot say: give them as the body")
    if body is None and wanted.required:
        raise InvalidRequest(f"`{wanted.name}` is required: give its bytes as the body")
    return body or b"", Encoding.RAW if body is not None else Encoding.NONE
