"""T19, T20: what workers keep to themselves, tried on real processes by thieves of the same user and of another."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

sys.path += [str(Path(__file__).parent / "programs"), str(Path(__file__).parents[1] / "supervisor" / "programs")]

from stage import Stage
from victim import HERE, IS_ROOT, OWNER, ROOT, STRANGER, Victim, ordinary, python

import ipc.control
from ipc.messages import control, lifeline
from ipc.messages.calls import FROM_WEB
from ipc.messages.settings import ExecSettings, Limits, LogSettings, WebSettings
from ipc.names import WorkerName
from ipc.wire.frame import Refusal, Refuse
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret, session_keys
from ipc.wire.session import Session, Terms
from ipc.wire.signing import Alg
from supervisor import events
from supervisor.plan import GroupPlan
from supervisor.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fault

LIMITS = Limits()
PRELOAD = "runtime.platform.process_groups.cpu.preload=true"
LOOKS = {"environ", "memory", "process_vm", "ptrace", "descriptors", "pidfd_getfd"}
"""Every way there is but the arguments, which are everybody's to read."""


def prober() -> tuple[str, str]:
    return python().executable, str(python().root / HERE.relative_to(ROOT) / "prober.py")


def needles(victim: Victim) -> dict[str, str]:
    """Every key that is in some process: the operator's secret, and what follows from it whenever it has begun."""
    web, servers = WorkerName("web", 0, 1), [WorkerName("cpu", slot, 1) for slot in (0, 1)]
    found = {"root": victim.secret}
    for epoch in victim.epochs:
        root = root_for_epoch(victim.secret, epoch)
        found[f"epoch root {epoch}"] = root
        for server in servers:
            found[f"server {server} {epoch}"] = secret = server_secret(root, server)
            found[f"leaf {server} {epoch}"] = leaf_key(secret, web)
    return {name: key.hex() for name, key in found.items()}


def ask(process: subprocess.Popen[str], pids: dict[str, int], keys: dict[str, str]) -> dict[str, dict[str, Any]]:
    process.stdin.write(json.dumps({"pids": pids, "needles": keys}) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    """One that is as it should be; a thief started it."""
    yield from started()


@pytest.fixture(scope="module")
def debugged() -> Iterator[Victim]:
    """One that lets debuggers in."""
    yield from started("runtime.platform.hardening.allow_debug=true")


@pytest.fixture(scope="module")
def forked() -> Iterator[Victim]:
    """One whose exec workers come from a template."""
    yield from started(PRELOAD)


@pytest.fixture(scope="module", params=["victim", "forked"])
def either(request: pytest.FixtureRequest) -> Victim:
    """However its workers came to be, they are as they should be."""
    return request.getfixturevalue(request.param)


def started(*settings: str) -> Iterator[Victim]:
    made = Victim(*settings, by=prober())
    try:
        yield made.ready()
    finally:
        made.end()


@pytest.fixture(scope="module", params=["victim", "debugged", "forked"], ids=["closed", "allow_debug", "forked"])
def probed(request: pytest.FixtureRequest) -> tuple[bool, dict[str, Any]]:
    """What thieves find: one of the same user and an ancestor of all it looks into, and one of another user.

    Where the tests are not root's there is no other user to be. There the second thief is of the same user but no
    ancestor, and what the kernel refuses the owner of a process it refuses everybody else without privileges.
    """
    victim, debug = request.getfixturevalue(request.param), request.param == "debugged"
    victim.get("/look")  # keys are in use, not only handed over
    keys, pids = needles(victim), victim.pids()
    with subprocess.Popen(
        prober(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=python().environment,
        **ordinary(STRANGER),
    ) as stranger:  # fmt: skip
        far = ask(stranger, pids, keys)
        stranger.stdin.close()
    near = ask(victim.process, pids, keys)
    assert victim.get("/look")["pid"] in pids.values()  # and looking did it no harm
    more = ["--set", "runtime.platform.hardening.allow_debug=true"] if debug else []
    told = {
        "status": victim.status()["supervisor"]["allow_debug"],
        "table": victim.command("status").stdout,
        "check": victim.command("check", *more).stdout,
        "log": victim.said(),
    }
    return debug, {"near": near, "far": far, "pids": pids, "told": told}


def test_a_thief_finds_no_key_unless_debuggers_are_let_in(probed: tuple[bool, dict[str, Any]]) -> None:
    debug, found = probed
    workers = set(found["pids"]) - {"supervisor"}
    assert workers == {"web-0#1", "cpu-0#1", "cpu-1#1"}
    for name in found["pids"]:
        assert found["near"][name]["argv"] == []
        if name == "supervisor" or not debug:
            assert {way for way in LOOKS if found["near"][name][way] != "refused"} == set(), name
        else:  # the same thief gets in everywhere: it is the guard that kept it out above
            assert {way for way in LOOKS if found["near"][name][way] == "refused"} == set(), name
            assert found["near"][name]["pidfd_getfd"] == ["descriptors"]
            for way in ("memory", "process_vm", "ptrace"):
                assert found["near"][name][way], (name, way)
            # Each worker has its own keys and no others, and nobody has what is above them.
            kinds, owners = (
                set(part) for part in zip(*(hit.split()[:2] for hit in found["near"][name]["memory"]), strict=True)
            )
            if name.startswith("web"):
                assert kinds == {"leaf"}
                assert owners == {"cpu-0#1", "cpu-1#1"}
            else:
                assert {"server"} <= kinds <= {"server", "leaf"}  # the leaf follows from the other
                assert owners == {name}
            assert found["near"][name]["environ"] == found["near"][name]["descriptors"] == []


def test_another_user_is_refused_whatever_is_allowed(probed: tuple[bool, dict[str, Any]]) -> None:
    debug, found = probed
    for name, ways in found["far"].items():
        assert ways["argv"] == []
        if IS_ROOT or not debug:
            assert {way for way in LOOKS if ways[way] != "refused"} == set(), name


def test_that_debuggers_are_let_in_is_said_everywhere_and_loudly(probed: tuple[bool, dict[str, Any]]) -> None:
    debug, found = probed
    told = found["told"]
    assert told["status"] is debug
    assert told["table"].startswith("WARNING: hardening.allow_debug is on") is debug
    assert ("WARNING: hardening.allow_debug is on" in told["check"]) is debug
    exposed = [json.loads(line) for line in told["log"].splitlines() if '"event":"worker_exposed"' in line]
    assert {line["worker"] for line in exposed} == ({"web-0#1", "cpu-0#1", "cpu-1#1"} if debug else set())
    assert all(line["level"] == "warning" and "allow_debug" in line["missing"][0] for line in exposed)


def every_exec_worker(victim: Victim) -> dict[int, dict[str, Any]]:
    seen: dict[int, dict[str, Any]] = {}
    for _ in range(200):
        looked = victim.get("/look")
        seen[looked["pid"]] = looked
        if len(seen) == 2:
            return seen
    raise AssertionError("one exec worker never answered")


LOOP = {"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[io_uring]", "pipe", "own pair"}
"""What event loops open for themselves."""


def test_a_worker_has_the_descriptors_it_was_given_and_those_it_opened(either: Victim) -> None:
    victim = either
    """Told by each worker of itself: nobody else of its user may list them."""
    port = int(victim.url.rpartition(":")[2])
    common = {"stdout": 1, "stderr": 2, "lifeline": 1}  # standard error a second time, to write without waiting
    for looked in every_exec_worker(victim).values():
        found = Counter(looked["fds"].values())
        pages = {what for what in found if what.startswith("/memfd:shunter-cpu-")}
        listeners = {what for what in found if what.startswith("listener ")}
        assert len(pages) == len(listeners) == 1
        assert listeners != {f"listener {port}"}
        links = {what for what in found if what.startswith("tcp ")}
        assert len(links) == 1  # that of the one web worker
        assert set(found) - LOOP - pages - listeners - links == {"/dev/null", *common}
        assert {what: found[what] for what in common} == common
        assert found["/dev/null"] <= 2  # standard input, and the loop's reserve
    looked = victim.get("/web/look")
    found = Counter(looked["fds"].values())
    pages = {what for what in found if what.startswith("/memfd:shunter-web-")}
    assert len(pages) == 1
    streams = {what for what in found if what.startswith("tcp ")}
    assert 3 <= len(streams) <= 8  # a link to each exec worker, and who asks
    assert set(found) - LOOP - pages - streams == {"/dev/null", f"listener {port}", *common}
    assert {what: found[what] for what in common} == common


def test_nothing_is_handed_on_and_no_worker_has_the_lifeline_of_another(either: Victim) -> None:
    everybody = [*every_exec_worker(either).values(), either.get("/web/look")]
    assert [looked["inherited"] for looked in everybody] == [[0, 1, 2]] * 3
    assert len({looked["lifeline"] for looked in everybody} - {0}) == 3


def test_a_worker_can_gain_nothing_and_lets_others_read_nothing(either: Victim) -> None:
    for looked in (either.get("/look"), either.get("/web/look")):
        assert looked["NoNewPrivs"] == "1"
        assert looked["Umask"] == "0077"


@pytest.mark.parametrize("more", [(), (PRELOAD,)], ids=["by exec", "forked"])
def test_workers_become_the_user_of_their_group_or_nothing_starts(more: tuple[str, ...]) -> None:
    """As root they do, with nothing left of root; anybody else is told at once that this is root's to do."""
    groups = "runtime.platform.process_groups"
    settings = [f"{groups}.web.user={OWNER}", f"{groups}.cpu.user={STRANGER}", f"{groups}.cpu.umask=027"]
    victim = Victim(*settings, *more, user=False)
    try:
        if not IS_ROOT:
            assert victim.process.wait(60) == 2
            assert f"cannot become user '{OWNER}': only root may change" in victim.said()
            return
        victim.ready()
        for path, uid, umask in (("/web/look", OWNER, "0077"), ("/look", STRANGER, "0027")):
            looked = victim.get(path)
            assert looked["Uid"].split() == looked["Gid"].split() == [str(uid)] * 4
            assert looked["Groups"] == ""
            assert {int(looked[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
            assert looked["Umask"] == umask
            assert looked["home"] == ["/", str(uid), str(uid)]
            assert looked["fds"]["2"] == "stderr"
            assert Counter(looked["fds"].values())["stderr"] == 2  # it could open it anew, although root made it
        assert victim.status()["groups"][0]["state"] == "up"
        # The death signal was said again after the change of user: who cannot act goes with the supervisor too.
        pids = victim.pids()
        os.kill(pids["cpu-0#1"], signal.SIGSTOP)
        victim.process.kill()
        victim.process.wait()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids.values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        victim.end()


def test_who_was_handed_capabilities_lets_go_of_them_with_its_user() -> None:
    """Under systemd a supervisor can be nobody special and may yet change users; its workers must not inherit that.

    Only root can hand capabilities down. Without any, the change of user is refused, and that is told.
    """
    hand_down = f"""
        import ctypes, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(0xE0, 0xE0, 0xE0, 0, 0, 0)
        if os.geteuid() == 0:
            assert libc.prctl(8, 1, 0, 0, 0) == 0  # capabilities outlive the change of user
            os.setgroups([]); os.setresgid(*[{OWNER}] * 3); os.setresuid(*[{OWNER}] * 3)
            assert libc.capset(header, data) == 0
            assert all(libc.prctl(47, 2, capability, 0, 0) == 0 for capability in (5, 6, 7))
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
    """
    become = f"""
        import os
        from ipc.confinement import Confinement
        from ipc.hardening import Unfit, harden
        def capabilities():
            lines = open("/proc/self/status").read().splitlines()
            wanted = ("CapPrm", "CapEff", "CapAmb")
            return [line.split()[1].lstrip("0") or "0" for line in lines if line.startswith(wanted)]
        print(*capabilities())
        try:
            harden(os.getppid(), [], Confinement(uid={STRANGER}, gid={STRANGER}))
        except Unfit as error:
            print(error)
        else:
            print(os.getresuid(), *capabilities())
    """
    done = subprocess.run(
        [python().executable, "-c", textwrap.dedent(hand_down), textwrap.dedent(become)],
        capture_output=True, text=True, timeout=60, check=True, cwd="/", env=reaching(python().environment),
    )  # fmt: skip
    before, after = done.stdout.splitlines()
    if IS_ROOT:
        assert before == "e0 e0 e0"
        assert after == f"{(STRANGER,) * 3} 0 0 0"
    else:
        assert before == "0 0 0"
        assert after.startswith(f"this process cannot become user {STRANGER}")


def reaching(environment: dict[str, str]) -> dict[str, str]:
    """With our packages on the path also where they are not installed by name."""
    return {**environment, "PYTHONPATH": environment.get("PYTHONPATH") or str(ROOT)}


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("who", ["web cpu", "cpu"], ids=["told by describe", "told by the worker"])
def test_a_user_who_cannot_read_the_application_is_an_error_and_not_a_wait(who: str) -> None:
    """If all workers are somebody else the application is imported as somebody else too, and that finds it first."""
    settings = [f"runtime.platform.process_groups.{group}.user={OWNER}" for group in who.split()]
    victim = Victim(*settings, user=False, mode=0o700)
    try:
        assert victim.process.wait(60) == 2
        why = f"user {OWNER} cannot read the directory {victim.path}" if IS_ROOT else "only root may change"
        assert why in victim.said()
    finally:
        victim.end()


@pytest.mark.parametrize(("guard", "dumps"), [("", None), ("harden(os.getppid(), [])", False), ("DEBUG", False)])
def test_a_crash_leaves_no_core_whatever_the_limits(tmp_path: Path, guard: str, dumps: bool | None) -> None:
    """Also where debuggers are let in, and where `core_pattern` names a program that has no limits."""
    code = """
        import os, resource, signal
        from ipc.confinement import Confinement
        from ipc.hardening import harden
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        GUARD
        print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    """
    guard = guard.replace("DEBUG", "harden(os.getppid(), [], Confinement(debug=True))")
    source = textwrap.dedent(code).replace("GUARD", guard)
    with subprocess.Popen([sys.executable, "-c", source], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        limit = process.stdout.readline().strip()
        _, status = os.waitpid(process.pid, 0)
        process.returncode = 0
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    plain = not Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")
    # Without the guard there is one wherever this machine makes any.
    expected = dumps if dumps is not None else (hard != 0 and plain) or os.WCOREDUMP(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert os.WCOREDUMP(status) is bool(expected)
    if dumps is False:
        assert limit == ("0" if hard == 0 else "1")
        assert not list(tmp_path.iterdir())


def test_what_supervisor_and_child_say_to_each_other_is_no_frame_on_a_link(victim: Victim) -> None:
    """Whoever can connect to a worker's port says there what only a lifeline may say, and is not even answered."""
    ports = [
        int(re.fullmatch(r"listener (\d+)", what)[1])
        for looked in every_exec_worker(victim).values()
        for what in looked["fds"].values()
        if what.startswith("listener")
    ]
    before = victim.pids()
    said = [
        lifeline.Drain(0.0),
        lifeline.Peers((lifeline.Peer("cpu-0#1", "tcp://127.0.0.1:1", 1, bytes(32)),)),
        lifeline.Install(2, bytes(32)),
        lifeline.Retire(2**31),
        lifeline.Bootstrap("cpu-0#1", 1, "hmac", LIMITS, LogSettings(), ExecSettings(())),
    ]
    orders = [control.encode(control.Stop(force=True)), control.encode(control.RotateKeys())]
    sent = 0
    for port in set(ports):
        for data in [*map(lifeline.encode, said), *orders]:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
                link.sendall(data.ljust(300, b"\0"))
                with suppress(ConnectionResetError):
                    assert link.recv(1) == b""
                sent += 1
    assert victim.pids() == before
    assert len(every_exec_worker(victim)) == 2
    workers = {worker["name"]: worker for group in victim.status()["groups"] for worker in group["workers"]}
    assert sum(workers[f"cpu-{slot}#1"]["refused"] for slot in (0, 1)) >= sent
    assert "refused" in victim.command("status").stdout
    lines = [json.loads(line) for line in victim.said().splitlines() if '"event":"refused"' in line]
    assert 0 < len(lines) < sent  # one a second and reason, not one for each
    assert {tuple(sorted(line.keys() - {"time", "stream"})) for line in lines} == {
        ("event", "group", "level", "reason", "so_far", "worker")
    }


def test_what_a_web_worker_refuses_is_counted_and_logged_too(tmp_path: Path) -> None:
    """A real one, called by the address of an exec worker that has turned."""
    routes = {"shop.images.thumbnail": "cpu"}
    web = WebSettings(endpoints=(), nodes=(), components={}, routes=routes)
    groups = (
        GroupPlan("cpu", "exec", 1, (), ExecSettings(())),
        GroupPlan("web", "web", 1, (), web),
    )
    plan = Stage(tmp_path).plan(groups, environment_set=(("PYTHONPATH", str(HERE)),))
    told: list[events.Event] = []

    def refused() -> int:
        try:
            status = ipc.control.ask(plan.state_dir, control.AskStatus())
        except ipc.control.ControlError:
            return 0
        assert isinstance(status, control.Status)
        return sum(worker.refused for group in status.groups if group.name == "web" for worker in group.workers)

    async def story() -> None:
        async with anyio.create_task_group() as tasks:
            options = {"on_event": told.append, "programs": {"web": "web_worker", "exec": "liar"}, "last": False}
            tasks.start_soon(partial(run, plan, **options))
            with anyio.fail_after(60):
                while not await anyio.to_thread.run_sync(refused):  # noqa: ASYNC110 - another process counts
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()

    anyio.run(story)
    lines = [
        json.loads(event.text) for event in told if isinstance(event, events.LineWritten) and '"refused"' in event.text
    ]
    assert {line["worker"] for line in lines} == {"web-0#1"}
    assert {line["level"] for line in lines} == {"warning"}


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {int(kind) for kind in FROM_WEB}))
def test_a_proved_peer_has_the_kinds_of_its_direction_and_no_other(kind: int) -> None:
    """Not even who holds the right keys can say anything else: nothing of the control plane has a number here."""
    keys = session_keys(bytes(range(32)), bytes(32))
    terms = Terms("tcp_local", Alg.HMAC_SHA256, 1, 1024, 30_000)
    web = Session(keys, terms, client=True, offset_ms=0)
    worker = Session(keys, terms, client=False, offset_ms=0)
    with pytest.raises(Refuse) as refused:
        worker.open(web.seal(kind, 1000)[4:], 1000)
    assert refused.value.reason is Refusal.KIND
