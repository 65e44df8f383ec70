"""Bytes that are frozen: a change here is a new version of the protocol, not a correction of a test."""

from __future__ import annotations

import ast
import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

import second

from ipc.messages.calls import FROM_EXEC, FROM_WEB
from ipc.names import WorkerName
from ipc.wire.handshake import Acceptor, Dialer
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret, session_keys
from ipc.wire.session import Terms
from ipc.wire.signing import Alg

ROLES = {second.WEB: "web", second.EXEC: "exec"}
CASES = json.loads(second.GOLDEN.read_text())


@pytest.fixture(params=CASES, ids=lambda case: "{carrier}-{alg}-{epoch}".format(**case["given"]))
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_the_second_implementation_agrees(case: dict[str, Any]) -> None:
    assert second.answers(case["given"]) == case["follows"]


def test_keys_are_frozen(case: dict[str, Any]) -> None:
    given, follows = case["given"], case["follows"]
    client, server = WorkerName(*given["client"]), WorkerName(*given["server"])
    secret = server_secret(root_for_epoch(bytes.fromhex(given["root"]), given["epoch"]), server)
    leaf = leaf_key(secret, client, ROLES[given["role"]])
    keys = session_keys(leaf, bytes.fromhex(follows["transcript"]))
    made = {"secret": secret, "leaf": leaf, "confirm_c": keys.confirm_client, "confirm_s": keys.confirm_server}
    for way, direction in (("c2s", keys.client_to_server), ("s2c", keys.server_to_client)):
        made["key_" + way] = direction.key
        made["iv_" + way] = direction.salt
        made["sid_" + way] = direction.sid.to_bytes(8, "big")
    for name, value in made.items():
        assert value.hex() == follows[name], name


def test_handshake_and_frames_are_frozen(case: dict[str, Any]) -> None:
    given, follows = case["given"], case["follows"]
    terms = Terms(given["carrier"], Alg(given["alg"]), given["epoch"], given["max_payload"], given["ttl_ms"])
    theirs = terms._replace(client=ROLES[given["role"]])  # the server takes either
    client, server = WorkerName(*given["client"]), WorkerName(*given["server"])
    secret, leaf = bytes.fromhex(follows["secret"]), bytes.fromhex(follows["leaf"])
    dialer = Dialer(client, server, leaf, theirs, bytes.fromhex(given["nonce_c"]), given["client_ms"])
    acceptor = Acceptor(server, {terms.epoch: secret}, terms, bytes.fromhex(given["nonce_s"]))
    hello = dialer.hello()
    assert hello.hex() == follows["hello"]
    accept = acceptor.hello(hello, given["server_ms"])
    assert accept.hex() == follows["accept"]
    finish, near = dialer.accept(accept, given["client_ms"])
    assert finish.hex() == follows["finish"]
    far = acceptor.finish(finish, given["server_ms"])
    for frame, frozen in zip(given["frames"], follows["frames"], strict=True):
        sender, receiver = (near, far) if frame["way"] == "c2s" else (far, near)
        meta, body = bytes.fromhex(frame["meta"]), bytes.fromhex(frame["body"])
        call_id = bytes.fromhex(frame["call_id"])
        sealed = sender.seal(frame["kind"], frame["now_ms"], call_id, meta, body, frame["flags"], frame["budget_ms"])
        assert sealed.hex() == frozen
        opened = receiver.open(sealed[4:], frame["now_ms"])
        assert opened[:7] == (frame["kind"], frame["flags"], call_id, 0, frame["budget_ms"], meta, body)


def test_a_new_epoch_shares_nothing_with_the_old_one() -> None:
    """Two cases that differ in nothing else have no key, id, message or frame in common."""
    old, new = (
        case
        for case in CASES
        if (case["given"]["carrier"], case["given"]["alg"]) == ("tcp_local", second.HMAC) and case["given"]["epoch"] < 2
    )
    assert {**old["given"], "epoch": 1} == new["given"]
    before, after = ({*case["follows"].pop("frames"), *case["follows"].values()} for case in copy.deepcopy((old, new)))
    assert not before & after


def test_every_kind_is_frozen_under_both_algorithms() -> None:
    for alg in Alg:
        kinds = {f["kind"] for case in CASES if case["given"]["alg"] == alg for f in case["given"]["frames"]}
        assert kinds == FROM_WEB | FROM_EXEC


def test_the_second_implementation_is_independent() -> None:
    tree = ast.parse(Path(second.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
