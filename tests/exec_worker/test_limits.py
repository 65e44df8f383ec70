"""What a worker has the kernel hold it to: in a process of its own, for it is for good."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest

from ipc.limits import cores_of
from ipc.messages.settings import ExecSettings, ResourceLimits

CODE = """
import errno, json, mmap, os, resource, sys, tempfile
import msgspec
from ipc import limits
from ipc.messages.settings import ExecSettings
settings = msgspec.json.decode(sys.argv[1], type=ExecSettings)
said = {}
try:
    limits.apply(settings, 1)
except limits.Refused as error:
    said["refused"] = str(error)
said["nice"] = os.nice(0)
said["cores"] = sorted(os.sched_getaffinity(0))
for name in ("AS", "NOFILE", "NPROC", "FSIZE"):
    said[name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
try:
    mmap.mmap(-1, 1 << 30)
except OSError:
    said["memory"] = "refused"
try:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(100_000))
except OSError as error:
    said["file"] = errno.errorcode[error.errno]
print(json.dumps(said))
"""


def told(settings: ExecSettings, **popen: object) -> dict[str, object]:
    argv = [sys.executable, "-c", CODE, msgspec.json.encode(settings).decode()]
    return json.loads(subprocess.check_output(argv, text=True, **popen))  # type: ignore[call-overload]


def test_a_worker_is_held_to_all_that_it_is_told() -> None:
    core = max(os.sched_getaffinity(0))
    limits = ResourceLimits(512 * 2**20, 200, 5000, 65536)
    said = told(ExecSettings((), nice=3, cores=(core,), limits=limits))
    assert (said["nice"], said["cores"]) == (min(19, os.nice(0) + 3), [core])
    assert [said[name] for name in ("AS", "NOFILE", "NPROC", "FSIZE")] == [
        [512 * 2**20] * 2,
        [200] * 2,
        [5000] * 2,
        [65536] * 2,
    ]
    assert (said["memory"], said["file"]) == ("refused", "EFBIG")


def test_a_worker_that_is_told_nothing_is_as_its_supervisor() -> None:
    said, usual = told(ExecSettings(())), told(ExecSettings((), limits=ResourceLimits(file_size=10**6)))
    assert said["cores"] == sorted(os.sched_getaffinity(0))
    assert said["nice"] == os.nice(0)
    assert "memory" not in said
    assert "file" not in said
    assert {**said, "FSIZE": 0} == {**usual, "FSIZE": 0}


def test_what_the_kernel_does_not_grant_is_told_in_one_sentence() -> None:
    assert "cores (8000,)" in str(told(ExecSettings((), nice=1, cores=(8000,)))["refused"])
    said = told(ExecSettings((), limits=ResourceLimits(open_files=2**31)))
    assert str(said["refused"]).startswith("limits.open_files cannot be 2147483648 here: ")


@pytest.mark.parametrize(("slot", "cores"), [(0, (3,)), (1, (5,)), (2, (3,)), (7, (5,))])
def test_spread_gives_each_worker_one_core_in_turn(slot: int, cores: tuple[int, ...]) -> None:
    assert cores_of(ExecSettings((), cores=(3, 5), spread=True), slot) == cores
    assert cores_of(ExecSettings((), cores=(3, 5)), slot) == (3, 5)
    assert cores_of(ExecSettings((), spread=True), slot) == ()
