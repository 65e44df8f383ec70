"""What fled from a worker, and nothing shows whose it is: with control groups of our own it ends with its worker.

Where the kernel gives whoever runs these tests none, they prove what is so then: it ends with the service.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import stage as staged
from cgroupfs import delegated_group, group_of
from watched import Watched, runs

from supervisor.delegation import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scene import Scene
    from stage import Stage

    Serve = Callable[..., Scene]

pytestmark = pytest.mark.fault

PRELOAD = "runtime.platform.process_groups.cpu.preload=true"
STRANGER = """
import sys, time
if len(sys.argv) > 1: open(sys.argv[1] + "/cgroup.procs", "w").write("0")
print("here", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home() -> Iterator[Path | None]:
    """Where the supervisor is put; None: it stays where it is, and nobody has delegated it anything."""
    with delegated_group() as path:
        yield path


@pytest.fixture
def stranger(home: Path | None) -> Iterator[int]:
    """Somebody in the same control group, whose end would be wrong."""
    argv = [sys.executable, "-S", "-c", STRANGER, *([] if home is None else [str(home)])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        assert popen.stdout.readline() == b"here\n"
        yield popen.pid
        assert popen.poll() is None
        popen.kill()


async def ask(scene: Scene, path: str) -> list[int]:
    """What a node has started."""
    answer = await scene.crowd().get(f"{path}?ticket=one")
    assert answer.status == 200, answer.body
    return [int(pid) for pid in answer.body.strip(b"[]").split(b",")]


def lives(home: Path) -> list[Path]:
    """What there is of lives of a service."""
    return list(home.glob("shunter.*"))


def groups(home: Path) -> set[str]:
    """Those of workers."""
    return {path.name for path in home.glob("shunter.*/*") if path.is_dir()}


@pytest.mark.parametrize("settings", [(), (PRELOAD,)], ids=["exec", "fork"])
async def test_who_fled_ends_with_its_worker_and_nobody_else(
    serve: Serve, home: Path | None, stranger: int, settings: tuple[str, ...]
) -> None:
    """F45: while the service runs on."""
    scene = serve(*settings, application="lively", workers=2, bare=True, cgroup=home)
    left = [*await ask(scene, "/family"), *await ask(scene, "/vanish")]
    others = [worker.pid for worker in scene.up()]
    if home is not None:
        assert len({group_of(pid) for pid in [scene.pid, *others]}) == 3
        assert len(groups(home)) == 4 + len(settings)  # with the web workers, and the template
    for worker in others:
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
    if home is not None:
        scene.until(lambda: not any(map(runs, left)))
        await scene.until_full()
        names = {worker.name for group in scene.status().groups for worker in group.workers}
        scene.until(lambda: len(groups(home)) == 4 + len(settings) and names <= groups(home))
    await scene.until_full()
    scene.process.send_signal(signal.SIGTERM)
    assert scene.ends() == 0
    assert not any(map(runs, left))
    assert runs(stranger)
    assert home is None or not lives(home)


async def test_who_hides_from_everybody_else_is_found_after_the_supervisor_was_killed(
    serve: Serve, home: Path | None, stranger: int
) -> None:
    scene = serve(application="lively", workers=1, bare=True, cgroup=home)
    left, (hidden,) = await ask(scene, "/family"), await ask(scene, "/vanish")
    scene.process.kill()
    scene.until(lambda: not any(map(runs, [*left, *scene.pids()])))
    if home is None:
        assert runs(hidden)  # as docs/supervision.md says
        os.kill(hidden, signal.SIGKILL)
    else:
        scene.until(lambda: not runs(hidden) and not lives(home))
    assert runs(stranger)


def test_what_came_of_a_program_ends_with_its_guard(stage: Stage, home: Path | None) -> None:
    """A guard that was killed can end nobody itself."""
    enter = (
        "import os, sys; open(sys.argv[1], 'w').write('0'); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    options = json.dumps({"cpu": 0, "web": 0, "tools": [["one", "family"]]})
    program = [str(Path(staged.__file__).with_name("supervised.py")), str(stage.path), options]
    procs = "/dev/null" if home is None else str(home / "cgroup.procs")
    service = Watched(stage.path, stage.state_dir, "-c", enter, procs, *program)
    try:
        service.until(lambda: len(service.events("LineWritten", stream="stdout")) >= 3)
        lines = [line["text"] for line in service.events("LineWritten", stream="stdout")[:3]]
        family = [int(line.split()[1]) for line in lines if line.startswith("child")]
        os.kill(service.pids()[0], signal.SIGKILL)
        service.until(lambda: len(service.pids()) == 2)
        if home is not None:
            service.until(lambda: not any(map(runs, family)))
            assert len(groups(home)) == 1
        service.process.send_signal(signal.SIGTERM)
        assert service.ends() == 0
        assert not any(map(runs, family))
    finally:
        service.end()


def test_a_group_that_nobody_delegated_is_left_alone_though_one_may_write_to_it(home: Path | None) -> None:
    code = "import sys; open(sys.argv[1], 'w').write('0'); from supervisor.delegation import delegated as d; print(d())"
    argv = [sys.executable, "-c", code, "/dev/null" if home is None else str(home / "cgroup.procs")]

    def found() -> str:
        return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()

    assert found() == str(home)
    if home is not None:
        os.removexattr(home, MARKS[0])
        assert found() == "None"
