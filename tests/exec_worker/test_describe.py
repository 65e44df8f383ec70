"""Runs the process as the supervisor does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipc.contract import Describe, Described, decode, encode_request

NODE = "from exec_worker import node\n"
THUMB = NODE + "@node\ndef thumbnail(image: bytes, width: int = 3) -> bytes: return image[:width]\n"


def run(cwd: Path, request: Describe) -> tuple[Described, subprocess.CompletedProcess[bytes]]:
    reading, writing = os.pipe()
    try:
        # Elsewhere than in the application, with `-P`: only what the request names is importable.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "exec_worker.describe", "--fd", str(writing)],
            input=encode_request(request), pass_fds=[writing], cwd=cwd, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        data = answer.read()
    assert done.returncode == 0, done.stderr
    return decode(data), done


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "images.py").write_text(THUMB)
    return tmp_path


def add(app: Path, name: str, text: str) -> None:
    (app / "shop" / f"{name}.py").write_text(text)


def described(root: Path, **request: object) -> tuple[Described, str]:
    answer, done = run(root.parent, Describe(sys_path=(str(root),), **request))  # type: ignore[arg-type]
    return answer, (done.stdout + done.stderr).decode()


def test_nodes_are_found_and_named_ones_added(app: Path) -> None:
    add(app, "plain", "def half(n: int) -> int: return n // 2\n")
    answer, _ = described(app, packages=("shop",), nodes=("shop.plain.half", "shop.images.thumbnail"))
    assert answer.faults == ()
    assert [(node.name, node.imported_from) for node in answer.nodes] == [
        ("shop.images.thumbnail", "shop.images:thumbnail"),
        ("shop.plain.half", "shop.plain:half"),
    ]
    assert answer.nodes[1].stage == "core"


def test_prints_and_reads_of_the_application_do_not_disturb_the_answer(app: Path) -> None:
    add(
        app,
        "noisy",
        "import os, sys\nprint('to stdout', flush=True)\nos.write(1, b'raw')\nprint('to stderr', file=sys.stderr)\n"
        "assert sys.stdin.read() == ''\nprint('last')\n",
    )
    answer, printed = described(app, packages=("shop",))
    assert answer.faults == ()
    assert len(answer.nodes) == 1
    for text in ("to stdout", "raw", "to stderr", "last"):
        assert text in printed


def test_a_thread_that_an_import_starts_does_not_keep_the_process(app: Path) -> None:
    add(app, "threads", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n")
    answer, _ = described(app, packages=("shop",))
    assert len(answer.nodes) == 1


def test_an_application_that_closes_its_output_is_described_all_the_same(app: Path) -> None:
    add(app, "closes", "import sys\nsys.stdout.close()\nsys.stderr = None\n")
    answer, _ = described(app, packages=("shop",))
    assert len(answer.nodes) == 1


def test_a_type_whose_own_code_raises_is_a_fault(app: Path) -> None:
    add(
        app,
        "own",
        NODE + "class Own:\n  def __class_getitem__(cls, item): return cls\n"
        "  @classmethod\n  def __get_pydantic_core_schema__(cls, source, handler): raise KeyError('own')\n"
        "@node\ndef f(x: Own) -> int: return 1\n@node\ndef g(x: int) -> ([],): return 1\n",
    )
    answer, _ = described(app, packages=("shop",))
    assert len(answer.nodes) == 1
    assert len(answer.faults) == 2
    assert "parameter `x` that cannot be validated" in answer.faults[0].what


def test_processes_the_application_starts_do_not_hold_the_descriptor(app: Path) -> None:
    add(
        app,
        "child",
        "import subprocess\nnull = subprocess.DEVNULL\n"
        "print(subprocess.Popen(['sleep', '60'], close_fds=False, stdin=null, stdout=null, stderr=null).pid)\n",
    )
    begun = time.monotonic()
    answer, printed = described(app, packages=("shop",))
    os.kill(int(printed), signal.SIGKILL)
    assert len(answer.nodes) == 1
    assert time.monotonic() - begun < 30


def test_one_run_tells_every_fault(app: Path) -> None:
    add(app, "broken", "1 / 0\n")
    add(app, "leaves", "import sys\nsys.exit('bye')\n")
    add(app, "twice", NODE + "@node(name='shop.images.thumbnail')\ndef other(n: int) -> int: return n\n")
    add(app, "odd", NODE + "@node\nasync def later(n: int) -> int: yield n\n@node\ndef unnoted(n) -> int: return n\n")
    answer, _ = described(
        app, packages=("shop", "nowhere"), nodes=("shop.images.thumb", "shop.broken.f"), app="shop.images:thumbnail"
    )
    told = [fault.what for fault in answer.faults]
    for part in (
        "shop.broken cannot be imported: ZeroDivisionError",
        "shop.leaves cannot be imported: SystemExit: bye",
        "nowhere cannot be imported",
        "two nodes are named shop.images.thumbnail: ",
        "shop.odd.later is a generator",
        "shop.odd.unnoted has no annotation for parameter `n`",
        "shop.images has no 'thumb'; did you mean 'thumbnail'?",
        "app 'shop.images:thumbnail'",
    ):
        assert len([each for each in told if part in each]) == 1, part
    assert len(told) == 8
    (broken,) = (fault for fault in answer.faults if "ZeroDivision" in fault.what)
    assert "shop/broken.py" in broken.traceback
    assert broken.traceback.count("File ") == 1
    assert [node.name for node in answer.nodes] == ["shop.images.thumbnail"]


ASGI = "class App:\n  async def __call__(self, scope, receive, send): ...\n"


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        ("shop.main:app", ASGI + "app = App()\n", None),
        ("shop.main:app", "from fastapi import FastAPI\napp = FastAPI()\n", None),
        ("shop.main:app", "async def app(scope, receive, send): ...\n", None),
        ("shop.main:holder.app", ASGI + "class holder: app = App()\n", None),
        ("shop.main:App", ASGI, "is a type, not an ASGI application"),
        ("shop.main:app", "app = 3\n", "is a int, not an ASGI application"),
        ("shop.main:app", "def app(): ...\n", "not an ASGI application"),
        ("shop.main:gone", "", "shop.main has no 'gone'"),
        ("shop.main", "", "not of the form 'module:attribute'"),
        ("shop.absent:app", "", "shop.absent cannot be imported: ModuleNotFoundError"),
        ("shop.main:app", "1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_the_app_is_imported_and_has_to_be_callable_by_a_server(
    app: Path, path: str, text: str, told: str | None
) -> None:
    add(app, "main", text)
    answer, _ = described(app, app=path)
    assert [told in fault.what for fault in answer.faults if told] == ([True] if told else [])
    assert len(answer.faults) == (told is not None)


def test_describing_does_not_load_a_web_framework_by_itself(app: Path) -> None:
    add(app, "probe", "import sys\nassert not {'fastapi', 'starlette', 'pydantic', 'uvloop'} & set(sys.modules)\n")
    answer, _ = described(app, packages=("shop",))
    assert answer.faults == ()


def test_the_working_directory_is_not_importable(app: Path) -> None:
    answer, _ = run(app, Describe(packages=("shop",)))
    assert "No module named 'shop'" in answer.faults[0].what


def test_an_empty_request_is_an_empty_answer(tmp_path: Path) -> None:
    answer, done = run(tmp_path, Describe())
    assert answer == Described((), {}, ())
    assert done.stdout == b""
