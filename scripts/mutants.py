"""`make mutants`: take each guard away, one after the other, and see that the tests notice.

Every guard in `tests/attacks/*guards.py` is removed from a copy of the repository, so that processes which tests start
lack it too, and the tests that are there for it run until the first that fails. A guard that nobody misses is a
failure of this program, and of the tests. What was found goes to docs/mutants.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "attacks"), str(ROOT)]

from guards import GUARDS as LINK_GUARDS  # noqa: E402 - tests' modules, reached by the line above
from guards import WITHOUT, edited_files  # noqa: E402 - as above
from process_guards import PROCESS_GUARDS  # noqa: E402 - as above
from supervision_guards import SUPERVISION_GUARDS  # noqa: E402 - as above

GUARDS = LINK_GUARDS | PROCESS_GUARDS | SUPERVISION_GUARDS
DOCUMENT = ROOT / "docs" / "mutants.md"
_LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", ".shunter")
# The quickest tests first. A loop full of what a failed test left open may not close: then the process is ended.
_QUIETLY = ("-p", "no:cacheprovider", "-p", "no:randomly", "--timeout", "120", "--timeout-method", "thread")
_TIME = 900.0
"""How long the tests may take to notice, seconds."""


def _of(*supervisor: str, faults: str = "") -> tuple[str, ...]:
    """Files of tests for one thing the supervisor does."""
    return (
        *(f"tests/supervisor/test_{name}.py" for name in supervisor),
        *([f"tests/faults/test_{faults}.py"] * bool(faults)),
    )


TESTS = {
    "ipc.wire": ("tests/golden", "tests/ipc/wire", "tests/attacks/test_link_*.py", "tests/ipc", "tests/simulation"),
    "ipc.decoding": (
        "tests/attacks/test_decoding_guards.py",
        "tests/ipc/decoding",
        "tests/attacks",
        "tests/web_worker",
    ),
    "ipc.flow": (
        "tests/ipc/flow",
        "tests/ipc/test_caller.py",
        "tests/contract/test_answers.py",
        "tests/ipc",
        "tests/simulation",
        "tests/attacks",
    ),
    "ipc.hardening": (
        "tests/ipc/test_hardening.py",
        "tests/attacks/test_hardening.py",
        "tests/faults",
        "tests/supervisor",
    ),
    "ipc.birth": ("tests/supervisor/test_template.py", "tests/attacks/test_hardening.py"),
    "ipc": ("tests/attacks/test_link_guards.py", "tests/ipc", "tests/contract", "tests/simulation", "tests/attacks"),
    "exec_worker.template": ("tests/supervisor/test_template.py", "tests/attacks/test_hardening.py"),
    "exec_worker": ("tests/exec_worker", "tests/attacks/test_decoding_guards.py", "tests/simulation", "tests/attacks"),
    "web_worker": ("tests/web_worker", "tests/attacks"),
    "supervisor.lifeline": ("tests/supervisor/test_child.py", "tests/supervisor", "tests/attacks"),
    "supervisor.process": ("tests/supervisor/test_template.py", "tests/supervisor", "tests/attacks"),
    "supervisor.spawn": ("tests/supervisor/test_template.py", "tests/supervisor", "tests/attacks"),
    "supervisor.policy": _of("policy", "strategy", "lifecycle"),
    "supervisor.demise": _of("lifecycle", "strategy"),
    "supervisor.lifecycle": _of("lifecycle", "group_stories", "strategy", "watchdog"),
    "supervisor.group": _of("group_stories", "strategy", "group"),
    "supervisor.succession": _of("group_stories", "group", faults="commands"),
    "supervisor.resizing": _of("resize", "group_stories"),
    "supervisor.rollout": _of("reload", "reach", "difference"),
    "supervisor.reload": _of("reload"),
    "supervisor.origins": _of("reload", "difference"),
    "supervisor.scaling": _of("scaling", "scaler"),
    "supervisor.scaler": _of("group_stories", "scaler"),
    "supervisor.pulse": _of("pulse", faults="liveness"),
    "supervisor.orphans": (*_of("orphans", faults="aftermath"), "tests/faults/test_commands.py"),
    "supervisor.aftermath": _of("aftermath", "warden", faults="aftermath"),
    "supervisor.warden": _of("warden", faults="aftermath"),
    "supervisor.hold": ("tests/faults/test_commands.py",),
    "supervisor.probe": _of("probe", faults="commands"),
    "supervisor.logbook": _of("logbook", faults="logs"),
    "supervisor.outlet": ("tests/cli/test_start.py", *_of(faults="logs")),
    "supervisor.output": _of("output", faults="logs"),
    "supervisor.recent": _of("audience"),
    "supervisor.control": _of("control", "audience"),
    "supervisor.audience": _of("audience"),
    "supervisor.callers": _of("control"),
    "supervisor.statedir": _of("control", faults="surroundings"),
    "supervisor.systemd": _of("systemd", faults="systemd"),
    "supervisor.signals": _of("signals", faults="supervision"),
    "supervisor": ("tests/supervisor", "tests/attacks", "tests/faults"),
}
"""Which tests are there for a module's guards, the quickest first."""


class Fate(NamedTuple):
    """What became of one mutant. `caught` is the first test that failed, empty if none did."""

    guard: str
    caught: str
    seconds: float


def main() -> int:
    """Try every guard, or those that are named."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("guards", nargs="*", metavar="GUARD", help="only these")
    given = arguments.parse_args().guards
    if unknown := set(given) - GUARDS.keys():
        sys.stderr.write(f"no such guard: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(GUARDS))}\n")
        return 2
    fates: dict[str, Fate] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        Path(folder).chmod(0o755)  # some tests start services as other users, who must reach the copy
        tried = {pool.submit(_try, guard, Path(folder)): guard for guard in given or GUARDS}
        for done in as_completed(tried):
            fate = done.result()
            fates[fate.guard] = fate
            sys.stdout.write(f"{fate.guard:<32} {fate.caught or 'NOBODY NOTICES'}  ({fate.seconds:.0f} s)\n")
            sys.stdout.flush()
    survivors = [guard for guard, fate in fates.items() if not fate.caught]
    sys.stdout.write(f"{len(fates) - len(survivors)} of {len(fates)} guards are missed when they are gone\n")
    DOCUMENT.write_text(_document(fates))
    return 1 if survivors else 0


def _try(guard: str, folder: Path) -> Fate:
    """Run the tests without one guard."""
    tree = folder / re.sub(r"\W+", "-", guard)
    shutil.copytree(ROOT, tree, ignore=_LEFT_BEHIND)
    for path, text in edited_files(GUARDS[guard]).items():
        (tree / path.relative_to(ROOT)).write_text(text)
    began = time.monotonic()
    python = _python(tree)
    try:
        left_out: list[str] = []
        while (failed := _first_failure(guard, tree, python, [*_tests(guard), *left_out])) and not _first_failure(
            guard, tree, python, [failed]
        ):
            left_out += ["--deselect", failed]  # it failed by chance, and is no witness
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return Fate(guard, failed.partition("[")[0], time.monotonic() - began)


def _first_failure(guard: str, tree: Path, python: str, arguments: list[str]) -> str:
    ran = subprocess.run(
        [python, "-m", "pytest", "-x", "-v", "--no-header", "--tb=no", *_QUIETLY, *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIME,
        env={**os.environ, WITHOUT: guard, "PYTHONUNBUFFERED": "1"},
    )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+\.py(?:::.*?)?)(?: - |$)", ran.stdout, re.MULTILINE)
    if failed is None and ran.returncode != 0 and "+++ Timeout +++" in ran.stdout + ran.stderr:
        begun = re.findall(r"^(tests/\S+\.py::.*?) *(?:PASSED|[+]{3}|$)", ran.stdout, re.MULTILINE)
        return begun[-1] if begun else arguments[0]
    if failed is None and ran.returncode != 0:
        raise RuntimeError(f"{guard}: the tests could not run\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[1] if failed else ""


def _tests(guard: str) -> tuple[str, ...]:
    module = GUARDS[guard][0].module
    while module not in TESTS:
        module = module.rpartition(".")[0]
    return tuple(str(path.relative_to(ROOT)) for pattern in TESTS[module] for path in sorted(ROOT.glob(pattern)))


def _python(tree: Path) -> str:
    """An interpreter for which the copy is the product, and everything installed here is installed."""
    venv = tree / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site / "mutant.pth").write_text(f"{tree}\n{sysconfig.get_path('purelib')}\n")
    return str(venv / "bin" / "python")


def _document(fates: dict[str, Fate]) -> str:
    """The document with what was found now; guards that had no turn keep the witness of an earlier run."""
    head, table, rows = DOCUMENT.read_text().partition("|---|---|\n")
    witnesses = dict(re.findall(r"^\| (.+?) \| (.+) \|$", rows, re.MULTILINE))
    witnesses |= {guard: f"`{fate.caught}`" for guard, fate in fates.items() if fate.caught}
    return head + table + "".join(f"| {guard} | {witnesses[guard]} |\n" for guard in GUARDS if guard in witnesses)


if __name__ == "__main__":
    sys.exit(main())
