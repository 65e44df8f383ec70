"""Valid words, bent: whoever reads them raises what it is documented to raise, soon, and builds little."""

from __future__ import annotations

import os
import time
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exec_worker.binding import JSON, MSGPACK, NONE, Binding
from exec_worker.signature import contract_of
from ipc import contract
from ipc.decoding.jsontext import json_object, json_value
from ipc.decoding.limits import UNREADABLE
from ipc.decoding.msgpacked import msgpack_value
from ipc.errors import InvalidRequest
from ipc.messages import calls, control, errand, lifeline
from supervisor.document import parse
from supervisor.errors import ConfigError
from supervisor.events import LineWritten
from supervisor.logbook import entry

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.soak
SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
SECONDS, BYTES = 2.0, 16 << 20
"""What any one document may take. The longest here has 200 KB, and being traced makes it slow."""


class Order(msgspec.Struct):
    item: str
    count: int = 1
    more: dict[str, Any] | None = None
    lines: list[list[float]] = []


def buy(order: Order | None = None, tags: list[str] | None = None, page: int = 1, when: datetime | None = None) -> None:
    pass


BINDING = Binding(buy, contract_of(buy, name="shop.buy"))
ORDER = Order("tea", 2, {"a": [1, {"b": None}], "c": "é:\\u003a"}, [[1.5, -2e10], []])
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUS = control.Status(
    control.SupervisorStatus(1, "1", 0.5, "shunter.yaml"),
    (control.GroupStatus("web", "up", (control.WorkerStatus("web-0", 1, "up", 1, 0, 0.5, 1, 0, 1, "why"),)),),
)
PEER = lifeline.Peer("cpu-0#1", "tcp://a:1", 1, b"k" * 32)
packed = msgspec.msgpack.encode


class Reader(NamedTuple):
    """Something that takes bytes, what it may raise, and what it is usually given."""

    read: Callable[[bytes], object]
    raises: tuple[type[Exception], ...]
    valid: tuple[bytes, ...]


def unframed(message: Any) -> bytes:
    return lifeline.encode(message)[4:]


METAS = (
    (calls.decode_request, calls.RequestMeta("shop.buy", "id", "trace", "web-0#1", 2, 3, msgspec.Raw(b"\x80"))),
    (calls.decode_reply, calls.ReplyMeta(1, 2, 3, 2, 200, "text/plain", (("a", "b"),))),
    (calls.decode_failure, calls.FailureMeta(1, "node_error", "it raised")),
    (calls.decode_not_started, calls.NotStartedMeta(calls.NotStarted.BUSY)),
)
READERS: dict[str, Reader] = {
    "json": Reader(json_value, (msgspec.DecodeError,), (msgspec.json.encode(ORDER), b'[{"a": [[[[[[[[1]]]]]]]]}]')),
    "msgpack": Reader(msgpack_value, (msgspec.DecodeError,), (packed(ORDER), packed({1: NOON, "b": b"c" * 300}))),
    "json body": Reader(lambda data: BINDING.decode(b"", JSON, data), (InvalidRequest,), (msgspec.json.encode(ORDER),)),
    "msgpack body": Reader(lambda data: BINDING.decode(b"", MSGPACK, data), (InvalidRequest,), (packed(ORDER),)),
    "parameters": Reader(
        lambda data: BINDING.decode(data, NONE, b""), (InvalidRequest,), (packed({"tags": ["a"], "when": NOON}),)
    ),
    **{f"meta {meta!r:.12}": Reader(decode, UNREADABLE, (packed(meta),)) for decode, meta in METAS},
    "order": Reader(
        control.decode_order,
        (msgspec.DecodeError,),
        (
            control.encode(control.Stop(force=True)),
            control.encode(control.Scale("cpu", 4)),
            control.encode(control.Watch(9)),
            control.encode(control.CallNode("shop.buy", 5.0, 2, 3)),
        ),
    ),
    "answer": Reader(
        control.decode_answer,
        (msgspec.DecodeError,),
        (control.encode(STATUS), control.encode(control.Called(3, "misuse"))),
    ),
    "from a child": Reader(
        lifeline.decode_from_child,
        (msgspec.DecodeError,),
        (
            unframed(lifeline.Hardened(1, ("a", "b"))),
            unframed(lifeline.Broken("it", "Traceback")),
            unframed(errand.Answered(1, b"x", errand.Outcome())),
        ),
    ),
    "from the supervisor": Reader(
        lifeline.decode_from_supervisor,
        (msgspec.DecodeError,),
        (
            unframed(lifeline.Drain(1.5)),
            unframed(errand.Ask(1, "shop.buy", b"{}", None, 2.5)),
            unframed(lifeline.Peers((PEER,))),
        ),
    ),
    "description": Reader(
        contract.decode,
        (msgspec.DecodeError,),
        (contract.encode(contract.Described((contract_of(buy, name="shop.buy"),), {"a": {"b": [1]}})),),
    ),
    "log line": Reader(
        lambda data: entry(LineWritten("cpu-0#1", "stderr", data.decode(errors="backslashreplace")), NOON),
        (),
        (b'{"event": "started", "port": 80, "more": {"a": [1, 2]}}',),
    ),
    "shown line": Reader(
        lambda data: json_object(data.decode(errors="replace")), (), (b'{"time": 1.5, "event": "x"}',)
    ),
    "configuration": Reader(
        lambda data: parse(data[:4000].decode(errors="replace"), "shunter.yaml"),
        (ConfigError,),
        (b"a: &x {b: [1, 2.5, yes]}\nc: {<<: *x, d: 0x1f}\ne: |\n  text\n", b'{"a": ["b", !!int "3"]}'),
    ),
}
LIES = [b"\xdd", b"\xdc", b"\xdf", b"\xde", b"\xdb", b"\xda", b"\xc6", b"\xc9", b"\xc7", b"\xd6\xff", b"\xca"]
WORDS = [
    b"[",
    b"{",
    b"}",
    b"]",
    b'"',
    b"\\",
    b",",
    b":",
    b"\\u003a",
    b"\\ud800",
    b"1e999",
    b"NaN",
    b"\xff",
    b"&a ",
    b"*a",
]


@st.composite
def bent(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """A valid document after a few accidents."""
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 40)))
        part = data[at:end]
        match draw(st.sampled_from(["flip", "cut", "drop", "double", "lie", "word", "splice", "many"])):
            case "flip" if part:
                part = bytes([part[0] ^ 1 << draw(st.integers(0, 7))]) + part[1:]
            case "cut":
                end = len(data)
            case "drop":
                part = b""
            case "double":
                part += part
            case "lie":
                part = draw(st.sampled_from(LIES)) + draw(st.binary(max_size=5)) + part
            case "word":
                part = draw(st.sampled_from(WORDS)) + part
            case "splice":
                part += draw(st.sampled_from(valid))
            case "many":
                part = (draw(st.sampled_from([*WORDS, *LIES, b"\x91", b"\x80", b"\x81\xa0"])) + part[:2]) * 20_000
        data = data[:at] + part + data[end:]
        data = data[:200_000]
    return data


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100 * SOAK, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bent_words_are_read_or_refused_as_documented(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    words = data.draw(bent(reader.valid))
    tracemalloc.start()
    began = time.process_time()
    try:
        reader.read(words)
    except reader.raises:
        pass
    finally:
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < SECONDS
    assert peak < BYTES


@pytest.mark.parametrize("name", READERS)
def test_the_words_are_valid_before_they_are_bent(name: str) -> None:
    for words in READERS[name].valid:
        READERS[name].read(words)
