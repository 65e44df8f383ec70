"""Which descriptors each kind of child has: its own, and of all others' those alone that it was given."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

import shunter
from supervisor import aftermath

if TYPE_CHECKING:
    from collections.abc import Callable

    from scene import Scene

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

SETTINGS = (
    "runtime.platform.process_groups.cpu.preload=true",
    "runtime.platform.hardening.allow_debug=true",  # or nobody could look
)


class Held(NamedTuple):
    """What a process has open."""

    sockets: frozenset[str]
    pipes: frozenset[str]
    others: frozenset[str]


def held(pid: int) -> Held:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.add(str(link.readlink()))
    kinds = [frozenset(each for each in found if each.startswith(kind)) for kind in ("socket:", "pipe:")]
    loop = {each for each in found if each.startswith("anon_inode:")}  # epoll and the like have no names
    return Held(*kinds, frozenset(found - kinds[0] - kinds[1] - loop))


async def test_each_child_has_what_it_was_given_and_nothing_of_the_others(serve: Serve) -> None:
    """F47: no worker has another's lifeline or pipes, no exec worker the listener, nobody the lock."""
    scene = serve(*SETTINGS, application="lively", workers=1)
    status = scene.status()
    cpu = next(group for group in status.groups if group.name == "cpu")
    assert cpu.template is not None
    names = {worker.pid: worker.name for group in status.groups for worker in group.workers}
    names[cpu.template.pid] = cpu.template.name
    supervisor, children = held(scene.pid), {pid: held(pid) for pid in names if pid is not None}
    (warden,) = [child.pid for child in psutil.Process(scene.pid).children() if aftermath.__file__ in child.cmdline()]
    (listener,) = frozenset.intersection(
        supervisor.sockets, *(children[pid].sockets for pid in children if names[pid].startswith("web-"))
    )
    kinds = {"web": {listener}, "cpu": set()}
    links = {"web": 1, "cpu": 2}  # to each exec worker; from each web worker
    for pid, child in children.items():
        group = names[pid].partition("-")[0]
        own = {f"/memfd:shunter-{names[pid]} (deleted)"}
        assert child.sockets & supervisor.sockets == kinds[group], names[pid]
        assert len(child.pipes & supervisor.pipes) == 2, "its standard output and error"
        if pid == cpu.template.pid:
            assert len(child.sockets) == 1, "its lifeline"
            own = set()
        elif group == "cpu":
            scene.until(lambda pid=pid, group=group: len(held(pid).sockets) == 2 + links[group])  # and where it listens
        else:
            scene.until(lambda pid=pid, group=group: len(held(pid).sockets) == 4 + links[group])  # and its loop's two
        assert child.others == {"/dev/null"} | own, names[pid]
    for one, other in combinations(children, 2):
        assert not children[one].pipes & children[other].pipes
        assert children[one].sockets & children[other].sockets <= {listener}
    assert held(warden).sockets == frozenset()
    assert held(warden).others == {"/dev/null"}
    assert len(held(warden).pipes) == 1
    assert not any(held(warden).pipes & child.pipes for child in children.values())


def test_who_imports_the_application_has_its_standard_streams_and_where_it_answers(tmp_path: Path) -> None:
    """F47."""
    (tmp_path / "looks.py").write_text(
        "import json, os, pathlib\n"
        "found = {}\n"
        "for fd in os.listdir('/proc/self/fd'):\n"
        "    try: found[int(fd)] = os.readlink(f'/proc/self/fd/{fd}')\n"
        "    except OSError: pass\n"
        "pathlib.Path(__file__).with_name('found').write_text(json.dumps(found))\n"
    )
    (tmp_path / "shunter.yaml").write_text("discovery: {packages: [looks]}\n")
    command = [sys.executable, shunter.__file__, "check", "-c", str(tmp_path / "shunter.yaml")]
    with (tmp_path / "open").open("wb") as stranger:
        subprocess.run(command, check=False, capture_output=True, pass_fds=(stranger.fileno(),))
    found = json.loads((tmp_path / "found").read_text())
    assert "(deleted)" in found.pop("0"), "what it was asked"
    assert found["1"] == found["2"]
    assert found.pop("1").startswith("pipe:")
    (answer,) = {each for each in found.values() if each != found["2"]}
    assert answer.startswith("pipe:")
