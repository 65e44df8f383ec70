"""Every bomb, thrown at every reader that takes bytes of its kind: what it cost, one JSON line each.

In a process of its own, whose memory nobody else grows and shrinks.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exec_worker.binding import JSON, MSGPACK, NONE, Binding
from exec_worker.signature import contract_of
from ipc import contract
from ipc.decoding.jsontext import json_value, weigh_json
from ipc.decoding.msgpacked import inspect_msgpack, msgpack_value
from ipc.messages import control, lifeline
from supervisor.document import parse

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
KEYS = b",".join(b'"%d":0' % number for number in range(60_000))
JSON_BOMBS = {
    "lists in lists": b"[" * MIB,
    "objects in objects": b'{"a":' * (MIB // 5),
    "empty lists": b"[" + b"[]," * (MIB // 3) + b"0]",
    "empty objects": b"[" + b"{}," * (MIB // 3) + b"0]",
    "empty texts": b"[" + b'"",' * (MIB // 3) + b'""]',
    "ones": b"[" + b"1," * (MIB // 2) + b"1]",
    "escapes": b"[" + b'"\\\\",' * (MIB // 5) + b"0]",
    "one key": b"{" + b'"a":0,' * (MIB // 6) + b'"a":0}',
    "keys": b"{" + KEYS + b"," + KEYS + b"}",
    "digits": b"9" * MIB,
    "long numbers": b"[" + (b"9" * 4300 + b",") * 243 + b"0]",
    "quotes": b'"' * MIB,
    "backslashes": b"[" + b"\\" * MIB,
    "depth behind a text": b'["' + b"x" * (MIB // 2) + b'",' + b"[" * (MIB // 2),
}
MSGPACK_BOMBS = {
    "empty maps": b"\xdd" + (MIB - 5).to_bytes(4, "big") + b"\x80" * (MIB - 5),
    "empty maps, a few at a time": b"\xdc\x00\x10" + (b"\xdc\xff\x00" + b"\x80" * 0xFF00) * 16,
    "lists in lists": b"\x91" * MIB,
    "maps in maps": b"\x81\xa0" * (MIB // 2),
    "lists of lists": b"\xdc\x01\x00" * (MIB // 3),
    "a list that lies": b"\xdd\xff\xff\xff\xff",
    "a map that lies": b"\xdf\xff\xff\xff\xff",
    "a text that lies": b"\xdb\xff\xff\xff\xff",
    "bytes that lie": b"\xc6\xff\xff\xff\xff",
    "one key": b"\xde\x10\x00" + b"\xa1a\x00" * 4096,
    "keys of lists": b"\xde\x10\x00" + b"\x92\x01\x02\x00" * 4096,
    "extensions": b"\xdc\xff\x00" + b"\xd4\x05\x00" * 0xFF00,
}
TEN = ",".join(["*a{0}"] * 10)
YAML_BOMBS = {
    "lists in lists": "[" * MIB,
    "laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{TEN.format(n - 1)}]\n" for n in range(1, 9)),
    "merges": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{TEN.format(n - 1)}]}}\n" for n in range(1, 12)),
    "digits": "a: " + "9" * 100_000,
}


def echo(value: Any) -> Any:
    return value


def narrow(value: list[dict[str, int]]) -> None:
    pass


def bodies(function: Callable[..., Any], encoding: int) -> Callable[[bytes], object]:
    binding = Binding(function, contract_of(function, name="shop.f"))
    return lambda body: binding.decode(b"", encoding, body)


def parameters(function: Callable[..., Any]) -> Callable[[bytes], object]:
    binding = Binding(function, contract_of(function, name="shop.f"))
    return lambda data: binding.decode(data, NONE, b"")


JSON_READERS = {
    "json_value": json_value,
    "body": bodies(echo, JSON),
    "typed body": bodies(narrow, JSON),
    "order": control.decode_order,
    "answer": control.decode_answer,
}
MSGPACK_READERS = {
    "inspect_msgpack": inspect_msgpack,
    "msgpack_value": msgpack_value,
    "body": bodies(echo, MSGPACK),
    "typed body": bodies(narrow, MSGPACK),
    "parameters": parameters(echo),
    "from a child": lifeline.decode_from_child,
    "description": contract.decode,
}
UNGUARDED = {"msgspec alone": msgspec.msgpack.decode}


def kib(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])


def throw(reader: str, name: str, read: Callable[[Any], object], bomb: object) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
    before = kib("VmRSS")
    took, refused = [], ""
    for _ in range(3):
        began = time.perf_counter()
        try:
            read(bomb)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            refused = f"{type(error).__name__}: {error}"
        took.append(time.perf_counter() - began)
    result = {"reader": reader, "bomb": name, "refused": refused[:200], "ms": min(took) * 1e3}
    sys.stdout.write(json.dumps({**result, "kib": kib("VmHWM") - before}) + "\n")


def main() -> None:
    for readers, bombs in ((JSON_READERS, JSON_BOMBS), (MSGPACK_READERS, MSGPACK_BOMBS)):
        for reader, read in readers.items():
            for name, bomb in bombs.items():
                throw(reader, name, read, bomb)
    for name, text in YAML_BOMBS.items():
        throw("yaml", name, lambda text: parse(text, "shunter.yaml"), text)
    for name in ("empty lists", "ones", "lists in lists"):
        throw("weigh_json", name, weigh_json, JSON_BOMBS[name])
    for reader, read in UNGUARDED.items():
        throw(reader, "empty maps", read, MSGPACK_BOMBS["empty maps"])


main()
