"""What the code of an application consists of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from ipc.contract import Describe, Described, Module, decode, encode_request
from supervisor.origins import unmoved

ROOT = Path(__file__).parents[2]


def modules(directory: Path, *, needs: bool = True) -> dict[str, Module]:
    """What the describe process says of an application with the package `store`."""
    request = Describe(sys_path=(str(directory),), packages=("store",), needs=needs)
    out = directory / "out"
    code = "import os, sys; sys.argv += ['--fd', str(os.open(sys.argv.pop(), os.O_WRONLY | os.O_CREAT))]\n"
    code += "from exec_worker.describe import main; main()"
    subprocess.run(
        [sys.executable, "-P", "-c", code, str(out)], input=encode_request(request), cwd=ROOT, check=True, timeout=60
    )
    described = decode(out.read_bytes())
    assert isinstance(described, Described)
    assert not described.faults
    return {module.name: module for module in described.modules}


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_an_application_is_what_it_imports_and_may_import_but_nothing_that_is_installed(tmp_path: Path) -> None:
    write(
        tmp_path,
        store__init="",
        store__main="import json\nfrom . import near\nimport beside\ndef f():\n    from store.deep import lazy\n",
        store__near="from exec_worker import node\n",
        beside="",
        unused="raise SystemExit",
    )
    (tmp_path / "store" / "init.py").rename(tmp_path / "store" / "__init__.py")
    (tmp_path / "store" / "deep").mkdir()
    (tmp_path / "store" / "deep" / "__init__.py").write_text("")
    (tmp_path / "store" / "deep" / "lazy.py").write_text("from .. import near\n")
    found = modules(tmp_path)
    assert set(found) == {*("store", "store.main", "store.near", "store.deep", "store.deep.lazy"), "beside", "unused"}
    assert set(found["store.main"].needs) == {"store", "store.near", "beside", "store.deep", "store.deep.lazy"}
    assert found["store.deep.lazy"].path == str(tmp_path / "store" / "deep" / "lazy.py")
    assert found["unused"].needs == ()


def test_a_module_is_known_by_its_content_and_its_needs_are_told_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path, store__main="import beside\n", beside="x = 1\n")
    (tmp_path / "store" / "__init__.py").write_text("")
    before = modules(tmp_path, needs=False)
    assert all(module.needs == () for module in before.values())
    (tmp_path / "beside.py").write_text("x = 2\n")
    after = modules(tmp_path, needs=False)
    assert {name for name in before if before[name] != after[name]} == {"beside"}
    assert msgspec.structs.asdict(after["store.main"]) == msgspec.structs.asdict(before["store.main"])


def test_a_file_that_was_another_meanwhile_has_another_stamp_though_nothing_else_tells_it(tmp_path: Path) -> None:
    write(tmp_path, store__main="import beside\n", beside="x = 1\n")
    (tmp_path / "store" / "__init__.py").write_text("")
    before, times = modules(tmp_path), (tmp_path / "beside.py").stat()
    (tmp_path / "beside.py").write_text("x = 2\n")
    (tmp_path / "beside.py").write_text("x = 1\n")
    os.utime(tmp_path / "beside.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    after = modules(tmp_path)
    assert {name for name in before if before[name].stamp != after[name].stamp} == {"beside"}
    assert {name: module.digest for name, module in before.items()} == {n: module.digest for n, module in after.items()}
    assert not unmoved(before.values())
    assert unmoved(after.values())
    (tmp_path / "beside.py").unlink()
    assert not unmoved(after.values())
