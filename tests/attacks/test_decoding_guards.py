"""Each limit of what is decoded is missed: with it a document is refused, without it the same one is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from guards import DECODING, switched_off

from exec_worker.binding import JSON, MSGPACK, NONE, Binding
from exec_worker.signature import contract_of
from ipc import contract
from ipc.call import Answer
from ipc.decoding.jsontext import json_value
from ipc.decoding.msgpacked import inspect_msgpack
from ipc.errors import IpcError
from ipc.messages import control, lifeline
from ipc.messages.calls import ReplyMeta
from web_worker.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

MANY_JSON = b"[" + b"0," * 65_536 + b"0]"
KEYS_JSON = b"{" + b",".join(b'"%d":0' % number for number in range(4097)) + b"}"
TWICE = b"\x82\xa1a\x01\xa1a\x02"


class Model(pydantic.BaseModel):
    a: Any = None


def echo(value: Any = None) -> Any:
    return value


def model(value: Model) -> None:
    pass


def narrow(value: dict[str, int]) -> dict[str, int]:
    return value


def lax(a: int = 0) -> None:
    pass


def bound(function: Callable[..., Any]) -> Binding:
    return Binding(function, contract_of(function, name="shop.f"))


def result(data: bytes) -> None:
    Target(contract_of(narrow, name="shop.f"), narrow).read(Answer(ReplyMeta(1, 2, 3, MSGPACK), data))


EXPERIMENTS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "JSON elements": (json_value, MANY_JSON),
    "JSON depth": (json_value, b"[" * 65 + b"]" * 65),
    "JSON keys": (json_value, b"[" * 9 + KEYS_JSON + b"]" * 9),
    "JSON numbers": (json_value, b"9" * 310),
    "JSON key twice": (json_value, b'{"a":1,"a":2}'),
    "escaped key twice": (json_value, b'{"\\u003a":1,"a":2,"a":3}'),
    "msgpack elements": (inspect_msgpack, b"\xdd\x00\x01\x00\x00" + b"\x00" * 65_536),
    "msgpack depth": (inspect_msgpack, b"\x91" * 33 + b"\x00"),
    "msgpack keys": (inspect_msgpack, b"\xde\x10\x01" + b"".join(b"\xcd%c%c\0" % divmod(n, 256) for n in range(4097))),
    "msgpack key twice": (inspect_msgpack, TWICE),
    "msgpack key twice, seen quickly": (inspect_msgpack, TWICE),
    "msgpack key's type": (inspect_msgpack, b"\x81\x90\x00"),
    "msgpack extensions": (inspect_msgpack, b"\xd6\x01" + bytes(4)),
    "msgpack's end": (inspect_msgpack, b"\x01\x02"),
    "JSON body, again": (lambda data: bound(echo).decode(b"", JSON, data), b'{"a":1,"a":2}'),
    "JSON body for pydantic": (lambda data: bound(model).decode(b"", JSON, data), b'{"a":NaN}'),
    "msgpack body, again": (lambda data: bound(echo).decode(b"", MSGPACK, data), TWICE),
    "parameters, again": (lambda data: bound(lax).decode(data, NONE, b""), TWICE),
    "order": (control.decode_order, b'{"type":"stop","force":false,"force":true}'),
    "word of a child": (lifeline.decode_from_child, b"\x82\xa4type\xa7drained\xa1x" + b"\x91" * 33 + b"\x00"),
    "description": (contract.decode, b"\x83\xa5nodes\x90\xaacomponents\x80\xa1x" + b"\x91" * 257 + b"\x00"),
    "one kind of error": (lifeline.decode_from_child, b"\x82\xa4type\xa6broken\xa4what\xa1\xff"),
    "result of a handoff": (result, TWICE),
}


def refused(read: Callable[[bytes], object], data: bytes) -> bool:
    """Whether it was refused as is documented; any other way counts as read."""
    try:
        read(data)
    except (msgspec.DecodeError, IpcError):
        return True
    except Exception:  # noqa: BLE001 - what nobody expects
        return False
    return False


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_document_is_refused_by_this_guard_and_read_without_it(name: str) -> None:
    read, data = EXPERIMENTS[name]
    assert refused(read, data)
    with switched_off(name):
        assert not refused(read, data)
    assert refused(read, data)


def test_every_guard_has_its_experiment() -> None:
    """But for one, which saves the exec worker the work and the web worker's memory: `test_http.py` misses it."""
    assert EXPERIMENTS.keys() == DECODING.keys() - {"body in the web worker"}
