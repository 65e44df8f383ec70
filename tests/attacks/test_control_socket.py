"""T30: who cannot give orders to a supervisor, and what cannot be planted where its socket belongs. Real processes."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent / "programs"))

from victim import IS_ROOT, OWNER, STRANGER, Victim, ordinary, python

from ipc.messages.control import MAX_LINE, Refused, Stop, decode_answer, encode
from supervisor import callers

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    made = Victim()
    try:
        yield made.ready()
        assert made.process.poll() is None  # whatever was tried, nobody has stopped it
    finally:
        made.end()


def as_somebody(uid: int, code: str, *arguments: str) -> str:
    """What a program prints that runs as another user, where there is one to be."""
    argv = [python().executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=True, cwd="/", env=python().environment, **ordinary(uid)
    ).stdout.strip()


KNOCK = """
    import socket, sys
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        try:
            client.connect(sys.argv[1])
            client.sendall(sys.argv[2].encode())
            print(client.makefile().readline())
        except PermissionError:
            print("no way in")
"""


def test_nobody_but_its_user_can_even_reach_the_socket(victim: Victim) -> None:
    """Another user is kept out by the directory. Without another user to be, the modes say the same of all others."""
    found = [(victim.state / name).stat() for name in (".", "control.sock", "lock")]
    assert [stat.S_IMODE(status.st_mode) for status in found] == [0o700, 0o600, 0o600]
    assert {status.st_uid for status in found} == {OWNER if IS_ROOT else os.geteuid()}
    if IS_ROOT:
        said = as_somebody(STRANGER, KNOCK, str(victim.state / "control.sock"), encode(Stop(force=True)).decode())
        assert said == "no way in"


def test_another_user_who_got_in_is_refused_by_who_it_is(tmp_path: Path) -> None:
    """As if the directory had been open: the kernel tells the supervisor whose process has connected.

    Where tests are root's a real process of another user connects. Elsewhere this user's own does, and it is the
    supervisor's idea of itself that is another one's: the same comparison, from its other side.
    """
    path = Path("/tmp") / f"shunter-{os.getpid()}-{time.monotonic_ns()}.sock"  # noqa: S108 - reachable by everybody
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(30)
        try:
            with subprocess.Popen(
                [python().executable, "-c", textwrap.dedent(KNOCK), str(path), "x\n"],
                stdout=subprocess.DEVNULL, env=python().environment, cwd="/", **ordinary(STRANGER),
            ) as process:  # fmt: skip
                client, _ = listener.accept()
                with client, pytest.MonkeyPatch.context() as patch:
                    if not IS_ROOT:
                        patch.setattr(os, "geteuid", lambda: STRANGER)
                    assert callers.refusal(client, ()) == "this is another user's service"
                process.wait(30)
        finally:
            path.unlink()


@pytest.mark.parametrize("how", ["", "?apart=true"], ids=["itself", "a daemon of its own"])
def test_a_worker_cannot_give_orders_and_neither_can_what_it_leaves_behind(victim: Victim, how: str) -> None:
    """The daemon has a session of its own and no parent: the supervisor has adopted it, and knows it by that."""
    before = victim.pids()
    assert "workers may not give orders" in victim.get("/order" + how)
    assert victim.pids() == before


def test_root_may_ask_too(victim: Victim) -> None:
    """Under systemd the service is a user's of its own, and who looks after it is root."""
    answer = victim.command("status", "--json", user=False)
    assert answer.returncode == 0, answer
    assert json.loads(answer.stdout)["supervisor"]["pid"] == victim.process.pid


def test_the_owner_is_obeyed_so_that_it_is_the_guards_that_refuse(victim: Victim) -> None:
    answer = victim.command("restart", "web")
    assert answer.returncode == 0, answer
    assert "web-0#2" in victim.pids() or "web-0#3" in victim.pids()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"x" * (MAX_LINE + 1), f"at most {MAX_LINE} bytes"),
        (b'{"type":"stop","force":true', "no order came in time"),
        (b"\0" * 100 + b"\n", "no order this version"),
        (b'{"type":"stop","force":"yes"}\n', "no order this version"),
        (b'{"type":"stop"}' * 9000 + b"\n", f"at most {MAX_LINE} bytes"),
    ],
)
def test_what_is_no_order_is_refused_in_bounded_time_and_memory(victim: Victim, sent: bytes, why: str) -> None:
    """Said by its own user: nothing that it could say by mistake keeps the supervisor busy."""
    code = """
        import socket, sys
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(sys.argv[1])
            try:
                client.sendall(sys.stdin.buffer.read())
            except BrokenPipeError:
                pass
            print(client.makefile().readline())
    """
    argv = [python().executable, "-c", textwrap.dedent(code), str(victim.state / "control.sock")]
    began = time.monotonic()
    said = subprocess.run(
        argv, input=sent, capture_output=True, timeout=60, check=True, cwd="/", env=python().environment, **ordinary()
    ).stdout
    answer = decode_answer(said)
    assert isinstance(answer, Refused)
    assert why in answer.why
    assert time.monotonic() - began < 30


def test_of_two_starts_at_once_one_wins_and_the_other_names_it() -> None:
    """Over a socket that a dead supervisor left behind: the lock decides, and whoever has it replaces what is stale."""
    first = Victim(plant=("stale", Path()))
    try:
        with subprocess.Popen(
            first.process.args, cwd=first.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=python().environment, **ordinary(),
        ) as second:  # fmt: skip
            deadline = time.monotonic() + 60
            while (first.process.poll() is None) == (second.poll() is None):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            if first.process.poll() is None:
                said, winner, code = second.stdout.read(), first.process.pid, second.returncode
            else:
                said, winner, code = first.said(), second.pid, first.process.returncode
            assert code == 2
            assert f"already running: process {winner}" in said
            assert first.status()["supervisor"]["pid"] == winner
            if second.poll() is None:
                second.terminate()
    finally:
        first.end()


def test_a_link_that_waits_for_a_start_is_refused_and_leads_nowhere() -> None:
    elsewhere = Path(f"/tmp/shunter-elsewhere-{os.getpid()}-{time.monotonic_ns()}")  # noqa: S108 - it must not be made
    victim = Victim(plant=("control.sock", elsewhere))
    try:
        assert victim.process.wait(60) == 2
        assert "should be a socket of user" in victim.said()
        assert not elsewhere.exists()
    finally:
        victim.end()
