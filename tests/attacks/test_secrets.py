"""T21: known keys, and all that a service says or leaves behind searched for them, in every form they could have."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import socket
import sys
import traceback
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

sys.path += [str(Path(__file__).parent / "programs"), str(Path(__file__).parents[1] / "supervisor" / "programs")]

from stage import Stage
from victim import Victim, project

from exec_worker.embedded import _Worker
from ipc.caller import Caller
from ipc.link import accepting, dialling
from ipc.messages.lifeline import Bootstrap, Install, Peer, Peers, encode
from ipc.messages.settings import ExecSettings, Limits, LogSettings
from ipc.names import WorkerName
from ipc.responder import Responder
from ipc.wire.handshake import Acceptor, Dialer
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret, session_keys
from ipc.wire.session import Session, Terms
from ipc.wire.signing import AeadSeal, Alg, HmacSeal
from supervisor.config import Environment
from supervisor.errors import ConfigError
from supervisor.files import read_secret
from supervisor.keys import Keys
from supervisor.sources import load
from supervisor.spawn import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CANARY = bytes.fromhex("d3c1a7e59b0f46882ce9714bb6503df8190ae7c4528f6b3de17402fd9ac65b81")
TOKEN = "canary-f27b90d1c4e8"  # noqa: S105 - made up
"""A variable's value: the children's to know, and nobody's to print."""
WEB, EXEC = WorkerName("web", 0, 1), WorkerName("cpu", 0, 1)
TERMS = Terms("tcp_local", Alg.HMAC_SHA256, 1, 1024, 30_000)


def forms(secret: bytes) -> list[bytes]:
    """Everything a secret could look like in a text, wherever in a longer text it stands."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()]
    found += [", ".join(map(str, secret)).encode(), ",".join(map(str, secret)).encode()]
    for ahead in range(3):
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            inner = encoded(bytes(ahead) + secret + bytes(3))
            found.append(inner[4 if ahead else 0 : -8])
    return found


def search(said: dict[str, bytes], keys: dict[str, bytes]) -> list[str]:
    """Where which key was found."""
    return [
        f"{name} in {where}"
        for name, key in keys.items()
        for form in set(forms(key))
        for where, data in said.items()
        if form in data
    ]


def derived(secret: bytes, epochs: Iterable[int]) -> dict[str, bytes]:
    """Every key that may have followed from a secret in one of these epochs."""
    found = {"secret": secret}
    workers = [WorkerName("cpu", slot, life) for slot in (0, 1) for life in range(1, 5)]
    for epoch in epochs:
        found[f"root {epoch}"] = root = root_for_epoch(secret, epoch)
        for worker in workers:
            found[f"server {worker} {epoch}"] = key = server_secret(root, worker)
            found[f"leaf {worker} {epoch}"] = leaf_key(key, WEB)
    return found


def test_the_search_finds_what_is_there() -> None:
    said = {str(n): b"some text " + form + b" and more" for n, form in enumerate(forms(CANARY))}
    said["inside"] = base64.b64encode(b"ab" + CANARY + b"cdefgh")
    assert {hit.rpartition(" ")[2] for hit in search(said, {"it": CANARY})} == said.keys()
    assert not search({"other": bytes(range(256))}, {"it": CANARY})


@pytest.mark.fault
def test_no_key_is_in_anything_a_service_says_or_leaves_behind() -> None:
    """At its most talkative, through success and every kind of failure."""
    victim = Victim(
        f"runtime.platform.environment.set.SHOP_TOKEN={TOKEN}", "runtime.platform.execution_ipc.auth.ttl_seconds=1"
    )
    said: dict[str, bytes] = {}
    try:
        victim.ready()
        for path, status in (
            ("/look", 200),
            ("/nowhere", 404),
            ("/order?apart=perhaps", 422),
            ("/fail", 500),
            ("/wait", 504),
            ("/die", 502),
            ("/openapi.json", 200),
            ("/readyz", None),
        ):
            code, said[path] = fetch(victim.url + path)
            assert status in {code, None}, (path, code, said[path])
        crash(victim)
        garbage(victim)
        victim.until(victim.is_whole, "they do not come back")
        for command in (
            *(["status"], ["status", "--json"], ["check", "--json"], ["keys", "rotate"], ["restart", "cpu"]),
            *(["start"], ["logs"]),
        ):  # fmt: skip
            done = victim.command(*command)
            said[" ".join(command)] = (done.stdout + done.stderr).encode()
        assert b"already running" in said["start"]
        assert "Fatal Python error: Segmentation fault" in victim.said()  # frames were printed, without their values
        assert '"event":"refused"' in victim.said()
        assert "it broke on purpose" in victim.said()
        left = {str(path): path.read_bytes() for path in victim.state.rglob("*") if path.is_file()}
        assert any(name.endswith("cpu.log") for name in left)
        keys = derived(victim.secret, victim.epochs)
        said |= {"output": victim.output.read_bytes(), **left}
    finally:
        victim.end()
    assert sum(map(len, said.values())) > 10_000
    assert search(said, keys) == []
    assert [where for where, data in said.items() if TOKEN.encode() in data] == []


def fetch(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - http, and our own
            return answer.status, str(answer.headers).encode() + answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(error.headers).encode() + error.read()


def crash(victim: Victim) -> None:
    """In C, as a library would: the frames are printed, and the worker is replaced."""
    victim.until(victim.is_whole, "the one that was killed does not come back")
    worker = next(pid for name, pid in victim.pids().items() if name.startswith("cpu"))
    os.kill(worker, signal.SIGSEGV)
    victim.until(lambda: "Segmentation fault" in victim.said(), "no frames were printed")


def garbage(victim: Victim) -> None:
    """Messages that break the protocol, so that refusals are logged."""
    looked = victim.get("/look")
    port = next(int(what.split()[1]) for what in looked["fds"].values() if what.startswith("listener"))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall(encode(Install(1, CANARY)).ljust(300, b"\0"))
        with suppress(ConnectionResetError):
            assert link.recv(1) == b""
    victim.until(lambda: '"event":"refused"' in victim.said(), "the refusal was not logged")


# -- whoever holds a key does not show it


class Nobody:
    """Every side of a link, and none."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


def holders(tmp_path: Path) -> Iterable[object]:
    """One of every kind of object that a key lies in."""
    keys = session_keys(CANARY, bytes(32))
    peer = Peer(str(EXEC), "tcp://127.0.0.1:1", 1, CANARY)
    yield keys
    yield keys.client_to_server._replace(key=CANARY, salt=CANARY[:4])
    yield keys._replace(confirm_client=CANARY, confirm_server=CANARY)
    yield HmacSeal(keys.client_to_server._replace(key=CANARY))
    yield AeadSeal(keys.client_to_server._replace(key=CANARY))
    yield Session(keys, TERMS, client=True, offset_ms=0)
    yield Dialer(WEB, EXEC, CANARY, TERMS, bytes(32), 1)
    yield Acceptor(EXEC, {1: CANARY}, TERMS, bytes(32))
    yield dialling(Nobody(), WEB, EXEC, CANARY, TERMS)  # type: ignore[arg-type]
    yield accepting(Nobody(), EXEC, {1: CANARY}, TERMS)  # type: ignore[arg-type]
    yield Responder(EXEC, CANARY, TERMS, Nobody())  # type: ignore[arg-type]
    worker = _Worker.__new__(_Worker)
    worker.secret = CANARY
    yield worker
    yield Bootstrap("cpu-0#1", 1, "hmac", Limits(), LogSettings(), ExecSettings(()), CANARY)
    yield peer
    yield Peers((peer,))
    yield Install(2, CANARY)
    yield Keys(CANARY)
    yield replace(Stage(tmp_path).plan(), secret=CANARY, environment_set=(("KEY", CANARY.hex()),))
    yield Environment(set={"KEY": CANARY.hex()})
    yield Launcher({"KEY": CANARY.hex()})
    config = project(tmp_path)
    loaded = load(config, {}, [f"runtime.platform.environment.set.KEY={CANARY.hex()}"])
    yield loaded
    yield loaded.config


def shown(thing: object) -> dict[str, bytes]:
    """What people, logs and crash reporters can be shown of an object."""
    found = {"repr": repr(thing), "str": str(thing), "format": f"{thing}", "rich": pretty_repr(thing)}
    try:
        raise_with(thing)
    except RuntimeError as error:
        found["traceback"] = "".join(traceback.format_exception(error))
        found["locals"] = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        console = Console(file=io.StringIO(), width=400)
        console.print(
            Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_string=None)
        )
        found["rich locals"] = console.file.getvalue()
        assert "thing" in found["rich locals"]
    return {name: text.encode() for name, text in found.items()}


def raise_with(thing: object) -> None:
    raise RuntimeError(f"something went wrong with {thing!r}")


def test_no_object_that_holds_a_key_shows_it(tmp_path: Path) -> None:
    keys = {"the key": CANARY}
    seen = []
    for thing in holders(tmp_path):
        seen.append(type(thing).__name__)
        assert search(shown(thing), keys) == [], type(thing)
    assert len(seen) > 20


def test_a_caller_shows_no_key_of_those_it_calls() -> None:
    async def story() -> None:
        async def nowhere(*_: Any) -> None:
            await asyncio.sleep(60)

        caller = Caller(WEB, TERMS, Limits(), {"a": "cpu"}, nowhere)
        caller.update(Peers((Peer(str(EXEC), "tcp://127.0.0.1:1", 1, CANARY),)))
        await asyncio.sleep(0)
        held = [caller, *vars(caller).values()]
        for thing in held:
            assert search(shown(thing), {"the key": CANARY}) == [], type(thing)
        await caller.close()

    asyncio.run(story())


@pytest.mark.parametrize("content", [CANARY[:31], CANARY[:4] * 8, CANARY * 200], ids=["short", "repeated", "long"])
def test_what_is_wrong_with_a_secret_is_said_without_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_secret(path)
    said = "".join(traceback.TracebackException.from_exception(caught.value).format()).encode()
    assert search({"error": str(caught.value).encode(), "traceback": said}, {"it": content[:31]}) == []


def test_a_secret_that_is_put_in_the_configuration_itself_is_no_key_anybody_reads(tmp_path: Path) -> None:
    """There is a key for a file and none for a secret: the error for one does not repeat it."""
    config = project(tmp_path)
    for key in ("runtime.platform.secret", "runtime.platform.execution_ipc.auth.secret"):
        with pytest.raises(ConfigError, match="secret") as caught:
            load(config, {}, [f"{key}={CANARY.hex()}"])
        assert search({"error": str(caught.value).encode()}, {"it": CANARY}) == []
