"""Each guard of the link, and the edit that takes it away: for tests that ask whether it is missed.

    with switched_off("sid"): ...             one test's negative control
    SHUNTER_MUTANT=sid make test              the whole suite without it (see tests/conftest.py); it must go red

A guard is named by the words of the code that it is made of. They are replaced in the source of one function, and the
function gets the code that comes of it: whoever imported the function has the new one as well, and nothing in the
product knows of any of this. An edit whose words are not there any more is an error: say where the guard lives now.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import textwrap
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "SHUNTER_MUTANT"
WITHOUT = "SHUNTER_WITHOUT"
"""Names the guard that is gone from the files themselves: `make mutants` runs the tests of such a copy."""


class Edit(NamedTuple):
    """Words of one function, and what stands in their place while the guard is off."""

    module: str
    function: str
    old: str
    new: str


class NoSuchWords(LookupError):
    """The guard is not where the list says."""


_SESSION, _HANDSHAKE, _KEYS = "ipc.wire.session", "ipc.wire.handshake", "ipc.wire.keys"
_LINK, _RESPONDER = "ipc.link", "ipc.responder"
_JSON, _MSGPACK, _CODEC = "ipc.decoding.jsontext", "ipc.decoding.msgpacked", "exec_worker.codec"


def _opening(condition: str) -> tuple[Edit, ...]:
    """One check of those that every frame goes through."""
    return (Edit(_SESSION, "Session.open", f"if {condition}:", "if False:"),)


def _said(words: str) -> tuple[Edit, ...]:
    """One part of what both sides of a handshake must have heard alike."""
    return (Edit(_HANDSHAKE, "_transcript", words, 'b"", '),)


GUARDS: dict[str, tuple[Edit, ...]] = {
    # A frame, in the order of the checks.
    "short": _opening("size < MIN_FRAME"),
    "magic and version": _opening("magic != MAGIC or version != VERSION"),
    "flags": _opening("flags & ~KNOWN_FLAGS"),
    "alg": _opening("alg != self._alg"),
    "body bound": _opening("meta_size > MAX_META or body_size > self._max_payload"),
    "exact length": _opening("end + self._tag != size"),
    "kind": _opening("kind not in self._kinds"),
    "sid": _opening("sid != self._in_sid"),
    "epoch": _opening("epoch != self.epoch"),
    "counter check": _opening("(reason := self._window.check(counter)) is not None"),
    "hmac tag": (
        Edit(
            "ipc.wire.signing",
            "HmacSeal.open",
            "if not hmac.compare_digest(outer.digest(), view[-32:]):",
            "if False:",
        ),
    ),
    "gcm tag": (
        Edit(
            "ipc.wire.signing",
            "AeadSeal.open",
            "raise Refuse(Refusal.MAC) from None",
            "plain = bytes(len(view) - HEADER_SIZE - 16)",
        ),
    ),
    "counter commit": (Edit(_SESSION, "Session.open", "self._window.commit(counter)", "pass"),),
    "tag before commit": (
        Edit(
            _SESSION,
            "Session.open",
            "plain = self._in.open(frame, counter)\n        self._window.commit(counter)",
            "self._window.commit(counter)\n        plain = self._in.open(frame, counter)",
        ),
    ),
    "future": _opening("age < -FUTURE_MS"),
    "ttl": _opening("age > self._ttl"),
    "strict order": (
        Edit(
            "ipc.wire.replay",
            "StrictCounter.check",
            "if counter == self._next:",
            "if counter >= self._next:",
        ),
    ),
    "order where it is kept": (Edit(_SESSION, "replay_for", "if terms.number in IN_ORDER", "if False"),),
    "window's bit": (Edit("ipc.wire.replay", "BitmapWindow.check", "if word >> counter % _WORD & 1", "if False"),),
    "window's end": (
        Edit(
            "ipc.wire.replay", "BitmapWindow.check", "if counter < 0 or counter < self._top - self._size:", "if False:"
        ),
    ),
    "seals after a fork": (Edit(_SESSION, "Session.wipe", "self._out = self._in = NoSeal()", "pass"),),
    "outgoing counter": (Edit(_SESSION, "Session.parts", "self._out_counter = counter + 1", "pass"),),
    # Keys: what is missing here is a key that two have.
    "root length": (Edit(_KEYS, "root_for_epoch", "if len(root) < KEY_SIZE:", "if False:"),),
    "key of an epoch": (Edit(_KEYS, "root_for_epoch", 'epoch.to_bytes(4, "big")', 'b""'),),
    "key of a server": (Edit(_KEYS, "server_secret", ", worker.wire_id, worker.wire_incarnation)", ")"),),
    "key of a client": (Edit(_KEYS, "client_key", ", client_id, client_incarnation)", ")"),),
    "key of a connection": (Edit(_KEYS, "session_keys", "extract(transcript, leaf)", 'extract(b"", leaf)'),),
    "key of a direction": (
        Edit(_KEYS, "session_keys.direction", 'b"key|" + label', 'b"key|"'),
        Edit(_KEYS, "session_keys.direction", 'b"iv|" + label', 'b"iv|"'),
    ),
    "proof of a role": (Edit(_KEYS, "session_keys", 'b"confirm|s"', 'b"confirm|c"'),),
    # Handshake.
    "hello proof": (
        Edit(
            _HANDSHAKE,
            "Acceptor.hello",
            'if not hmac.compare_digest(_proof(expand(leaf, b"hello"), said[:-_MAC]), said[-_MAC:]):',
            "if False:",
        ),
    ),
    "server's proof": (
        Edit(
            _HANDSHAKE,
            "Dialer.accept",
            "if not hmac.compare_digest(_proof(keys.confirm_server, transcript, said[:-_MAC]), said[-_MAC:]):",
            "if False:",
        ),
    ),
    "client's proof": (
        Edit(
            _HANDSHAKE,
            "Acceptor.finish",
            "if not hmac.compare_digest(_proof(keys.confirm_client, transcript, said[:-_MAC]), said[-_MAC:]):",
            "if False:",
        ),
    ),
    "terms": (
        Edit(
            _HANDSHAKE,
            "Acceptor.hello",
            "if role is None or (carrier, role_s, max_payload, reserved, ttl) != expected:",
            "if False:",
        ),
    ),
    "hello's alg": (Edit(_HANDSHAKE, "Acceptor.hello", "if alg != terms.alg:", "if False:"),),
    "hello's epoch": (
        Edit(_HANDSHAKE, "Acceptor.hello", "self._secrets.get(epoch)", "next(iter(self._secrets.values()))"),
    ),
    "hello's addressee": (Edit(_HANDSHAKE, "Acceptor.hello", "if id_s + inc_s != self._server:", "if False:"),),
    "carrier in the transcript": _said("terms.carrier.encode(), "),
    "role in the transcript": _said("terms.client.encode(), "),
    "client in the transcript": _said("client, "),
    "server in the transcript": _said("server, "),
    "epoch in the transcript": _said("epoch, "),
    "limits in the transcript": (Edit(_HANDSHAKE, "_transcript", "server_nonce, limits", "server_nonce"),),
    "client's nonce": (Edit(_LINK, "dialling", "os.urandom(NONCE_SIZE)", "bytes(NONCE_SIZE)"),),
    "server's nonce": (Edit(_LINK, "accepting", "os.urandom(NONCE_SIZE)", "bytes(NONCE_SIZE)"),),
    "client's round trip": (Edit(_HANDSHAKE, "Dialer.accept", "server_ms, round_trip)", "server_ms, 0)"),),
    "server's round trip": (
        Edit(
            _HANDSHAKE,
            "Acceptor.finish",
            "_FINISH.unpack_from(said)[3], now_ms - began)",
            "_FINISH.unpack_from(said)[3], 0)",
        ),
    ),
    # The link and who may connect.
    "length bound": (
        Edit(
            "ipc.wire.framing",
            "Deframer.feed",
            "if not self.minimum <= size <= self.limit:",
            "if False:",
        ),
    ),
    "refusal ends the link": (Edit(_LINK, "Link._refuse", "self.abort()", "pass"),),
    "refusal is counted": (Edit(_LINK, "Link._refuse", "refuse(reason)", "pass"),),
    "nothing after the end": (Edit(_LINK, "Link.received", "if self._over:", "if False:"),),
    "dialler's patience": (Edit(_LINK, "Link.expire", "self._refuse(Refusal.TIMEOUT)", "pass"),),
    "retired keys": (Edit(_RESPONDER, "Responder.retire", "del self._secrets[old]", "pass"),),
    "retired handshake": (
        Edit(
            _RESPONDER,
            "Responder.established",
            "raise Refuse(Refusal.EPOCH)",
            "pass",
        ),
    ),
    "epochs grow": (Edit(_RESPONDER, "Responder.install", "if epoch <= max(self._secrets):", "if False:"),),
    "frame time": (Edit("ipc.transport.stream", "StreamCarrier._tick", "self._reading > FRAME_TICKS + late", "False"),),
    "write stall": (
        Edit("ipc.transport.stream", "StreamCarrier._tick", "self._stalled > STALL_TICKS + late", "False"),
    ),
    "same user": (Edit("ipc.transport.unix", "_is_ours", "if credentials(sock).uid == os.geteuid():", "if True:"),),
    "links of one": (
        Edit(
            _RESPONDER,
            "Responder.established",
            "if sum(other.peer == link.peer for other in self._links) > MAX_LINKS_OF_ONE:",
            "if False:",
        ),
    ),
    "half-open bound": (
        Edit(_RESPONDER, "Responder.new_end", "if len(self._half_open) >= MAX_HALF_OPEN:", "if False:"),
    ),
    "handshake time": (
        Edit(_RESPONDER, "Responder.new_end", "loop.call_later(HANDSHAKE_TIME, ", "loop.call_later(3600, "),
    ),
    # What an authentic peer may ask and answer.
    "asked of this worker": (
        Edit(
            "ipc.caller",
            "Caller.heard",
            "raise Refuse(Refusal.UNAUTHORISED)",
            "call = self._pending.peek(frame.call_id)",
        ),
    ),
    "reply to the asker": (
        Edit(
            "exec_worker.rows",
            "_check_reply_to",
            "if _peer(reply_to) != link.peer:",
            "if False:",
        ),
    ),
    # Pipelines: who may answer a call that it was not sent by its origin, and who may send one on.
    "key of a role": (Edit(_KEYS, "client_key", "role.encode(), ", ""),),
    "named for the call": (Edit("ipc.flow.track", "Track.standing", "if worker == self.at:", "if True:"),),
    "named by who had it": (Edit("ipc.flow.track", "Track.standing", "if worker == self.by:", "if True:"),),
    "group that is next": (
        Edit("ipc.flow.track", "Track.sent_on", "(to and not _is_of(to, self._way[leg].group))", "False"),
    ),
    "early words": (Edit("ipc.flow.track", "Track.keep", "len(self._early) >= len(self._way)", "False"),),
    "declared rows": (
        Edit(
            "exec_worker.rows",
            "Rows.origin",
            "if (meta.node, *(stage.node for stage in meta.rest)) not in self._rows:",
            "if False:",
        ),
    ),
}

DECODING: dict[str, tuple[Edit, ...]] = {
    "JSON elements": (Edit(_JSON, "weigh_json", "if total > elements:", "if False:"),),
    "JSON depth": (Edit(_JSON, "_read_deep", "if any(", "if False and any("),),
    "JSON keys": (Edit(_JSON, "_items", "if len(one) > MAX_KEYS:", "if False:"),),
    "JSON numbers": (Edit(_JSON, "_items", "one.bit_length() > MAX_BITS", "False"),),
    "JSON key twice": (Edit(_JSON, "json_value", "!= data.count(", "> data.count("),),
    "escaped key twice": (Edit(_JSON, "_once", "if len(dict(pairs)) != len(pairs):", "if False:"),),
    "msgpack elements": (Edit(_MSGPACK, "_walk", "if total > elements:", "if False:"),),
    "msgpack depth": (Edit(_MSGPACK, "_walk", "if len(around) > depth:", "if False:"),),
    "msgpack keys": (Edit(_MSGPACK, "_count", "if count > MAX_KEYS:", "if False:"),),
    "msgpack key twice": (Edit(_MSGPACK, "_key", "if name in names:", "if False:"),),
    "msgpack key twice, seen quickly": (Edit(_MSGPACK, "_quick", "_write_msgpack(value) == data", "True"),),
    "msgpack key's type": (
        Edit(
            _MSGPACK,
            "_key",
            'raise OverLimit("A key of a map has to be a text or a whole number")',
            "end, name = at + 1, at",
        ),
    ),
    "msgpack extensions": (Edit(_MSGPACK, "_after", "_refuse_type()", "pass"),),
    "msgpack's end": (Edit(_MSGPACK, "_end", "if at != len(data):", "if at > len(data):"),),
    "JSON body, again": (Edit(_CODEC, "MsgspecCodec.from_json", "json_value(data)", "pass"),),
    "JSON body for pydantic": (Edit(_CODEC, "PydanticCodec.from_json", "json_value(data)", "pass"),),
    "msgpack body, again": (Edit(_CODEC, "MsgspecCodec.from_msgpack", "inspect_msgpack(data)", "pass"),),
    "parameters, again": (Edit("exec_worker.binding", "Binding.decode", "inspect_msgpack(params)", "pass"),),
    "order": (Edit("ipc.messages.control", "decode_order", "json_value(line)", "pass"),),
    "word of a child": (Edit("ipc.messages.lifeline", "decode_from_child", "inspect_msgpack(body)", "pass"),),
    "description": (Edit("ipc.contract", "decode", "inspect_msgpack(data, MAX_DESCRIBED, DESCRIBED_DEPTH)", "pass"),),
    "one kind of error": (
        Edit(
            "ipc.decoding.limits",
            "careful.read",
            "except (UnicodeDecodeError, RecursionError) as error:",
            "except ZeroDivisionError as error:",
        ),
    ),
    "result of a handoff": (Edit("web_worker.target", "_reader.read", "inspect_msgpack(body)", "pass"),),
    "body in the web worker": (Edit("web_worker.endpoints.http", "HttpEndpoint._read", "weigh_json(body)", "pass"),),
}
"""What is decoded: each has its experiment in `test_decoding_guards.py`."""
GUARDS |= DECODING


def function_of(edit: Edit) -> FunctionType:
    """The function an edit is about; of a function inside another, the outer one."""
    module = importlib.import_module(edit.module)
    found: object = module
    for name in edit.function.split("."):
        if isinstance(found, FunctionType):
            break
        found = attrgetter(name)(found)
    if not isinstance(found, FunctionType):
        raise NoSuchWords(f"{edit.module}.{edit.function} is no function")
    return found


def _edited(source: str, function: FunctionType, edits: list[Edit]) -> CodeType:
    """The function's code after all its edits."""
    lines = source.splitlines(keepends=True)
    name = function.__code__.co_qualname
    first, last = _where(source, name)
    text = "".join(lines[first - 1 : last])
    for edit in edits:
        if text.count(edit.old) != 1:
            times = text.count(edit.old)
            raise NoSuchWords(f"{edit.module}.{edit.function} has {times} times, not once: {edit.old}")
        text = text.replace(edit.old, edit.new)
    whole = "".join(lines[: first - 1]) + text + "".join(lines[last:])
    return _code(compile(whole, function.__code__.co_filename, "exec", dont_inherit=True), name)


def _where(source: str, qualname: str) -> tuple[int, int]:
    """The first and the last line of a function."""
    node: ast.AST = ast.parse(source)
    for name in qualname.split("."):
        node = next(
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name == name
        )
    return node.lineno, node.end_lineno or node.lineno


def _code(code: CodeType, qualname: str) -> CodeType:
    """The code of that name, somewhere in the code of a module."""
    if code.co_qualname == qualname:
        return code
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and (found := _code(constant, qualname)) is not None:
            return found
    return None  # type: ignore[return-value]


_off: list[str] = []


def _apply() -> dict[FunctionType, CodeType]:
    """Give every function that lacks a guard its edited code; returns what they had."""
    edits: dict[FunctionType, list[Edit]] = {}
    for name in dict.fromkeys(_off):
        if name == os.environ.get(WITHOUT):
            continue  # this copy of the source lacks it anyway
        for edit in GUARDS[name]:
            edits.setdefault(function_of(edit), []).append(edit)
    sources = {function: Path(inspect.getfile(function)).read_text() for function in edits}
    changed = {function: _edited(sources[function], function, these) for function, these in edits.items()}
    before = {function: function.__code__ for function in changed}
    for function, code in changed.items():
        function.__code__ = code
    return before


def switch_off(name: str) -> None:
    """Take a guard away for as long as the process lives."""
    _off.append(name)
    _apply()


@contextmanager
def switched_off(*names: str) -> Iterator[None]:
    """Do without these guards for a while, as well as without those that are off anyway."""
    _off.extend(names)
    before: dict[FunctionType, CodeType] = {}
    try:
        before = _apply()
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code
        del _off[len(_off) - len(names) :]


def edited_files(edits: tuple[Edit, ...]) -> dict[Path, str]:
    """The files that a guard is in, as they are without it. An edit that names no function is about a whole module."""
    texts: dict[Path, str] = {}
    for edit in edits:
        path = Path(inspect.getfile(importlib.import_module(edit.module)))
        lines = texts.get(path, path.read_text()).splitlines(keepends=True)
        first, last = 1, len(lines)
        if edit.function:
            first, last = _where("".join(lines), function_of(edit).__code__.co_qualname)
        text = "".join(lines[first - 1 : last])
        if text.count(edit.old) != 1:
            raise NoSuchWords(f"{edit.module}.{edit.function} has {text.count(edit.old)} times, not once: {edit.old}")
        texts[path] = "".join((*lines[: first - 1], text.replace(edit.old, edit.new), *lines[last:]))
    return texts


def describe(name: str) -> str:
    """One guard's edits, as `make mutants` may print them."""
    return "\n".join(
        f"{edit.module}.{edit.function}: {textwrap.shorten(edit.old, 100)} -> {textwrap.shorten(edit.new, 60)}"
        for edit in GUARDS[name]
    )
