import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exec_worker.loader import LoadError, discover, find, load, put_first
from exec_worker.signature import contract_of

Write = Callable[..., str]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Write]:
    """Writes modules of an application that is importable for one test: `app("shop.images", text)`."""
    modules, path = set(sys.modules), list(sys.path)

    def write(name: str, text: str = "") -> str:
        file = tmp_path.joinpath(*name.split("."))
        for folder in file.relative_to(tmp_path).parents:
            if folder != Path():
                (tmp_path / folder).mkdir(parents=True, exist_ok=True)
                (tmp_path / folder / "__init__.py").touch()
        file.with_suffix(".py").write_text(text)
        put_first([str(tmp_path)])
        return name

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


NODE = "from exec_worker import node\n"
THUMB = NODE + "@node(idempotent=True)\ndef thumbnail(image: bytes, width: int = 3) -> bytes: return image[:width]\n"


def test_find_takes_plain_functions_by_their_dotted_name(app: Write) -> None:
    app(
        "shop.images",
        "def half(n: int) -> int: return n // 2\nclass Tools:\n  @staticmethod\n  def f() -> int: return 1\n",
    )
    found = find("shop.images.half")
    assert (found.name, found.function(4), found.imported_from) == ("shop.images.half", 2, "shop.images:half")
    assert find("shop.images:half").function is found.function
    assert find("shop.images.Tools.f").imported_from == "shop.images:Tools.f"


def test_a_function_imported_elsewhere_is_found_there_too(app: Write) -> None:
    app("shop.images", THUMB)
    app("shop.api", "from shop.images import thumbnail\n")
    assert find("shop.api.thumbnail").name == "shop.api.thumbnail"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shop.images.thumbnial", "shop.images has no 'thumbnial'; did you mean 'thumbnail'"),
        ("shop.imagse.thumbnail", "has no 'imagse'"),
        ("nowhere.at_all.f", "nowhere cannot be imported: ModuleNotFoundError"),
        ("shop.images.width", "int 3, not a function"),
        ("shop.images.Options", "not a function"),
        ("shop", "write its module too"),
        ("shop.broken.f", "shop.broken cannot be imported: ZeroDivisionError: division by zero"),
        ("shop.misses.f", "shop.misses cannot be imported: ModuleNotFoundError: No module named 'not_installed'"),
        ("shop.leaves.f", "shop.leaves cannot be imported: SystemExit"),
        ("shop.images:gone", "has no 'gone'"),
        (".shop.f", "cannot be imported"),
    ],
)
def test_what_cannot_be_found_is_said_with_its_reason(app: Write, name: str, told: str) -> None:
    app("shop.images", THUMB + "width = 3\nclass Options: pass\n")
    app("shop.broken", "x = 1 / 0\n")
    app("shop.misses", "import not_installed\n")
    app("shop.leaves", "import sys; sys.exit(3)\n")
    with pytest.raises(LoadError) as caught:
        find(name)
    assert told in str(caught.value)


def test_the_traceback_shows_the_application_and_nothing_else(app: Write) -> None:
    app("shop.deep", "def f():\n    raise KeyError('deep')\nf()\n")
    app("shop.top", "import shop.deep\n")
    with pytest.raises(LoadError) as caught:
        find("shop.top.f")
    told = caught.value.traceback
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.count("File ") == 3
    assert "importlib" not in told
    assert "exec_worker" not in told
    assert told.endswith("KeyError: 'deep'\n")


def test_a_syntax_error_is_told_with_its_line(app: Write) -> None:
    app("shop.typo", "def f(:\n")
    with pytest.raises(LoadError, match="SyntaxError") as caught:
        find("shop.typo.f")
    assert "def f(:" in caught.value.traceback


def test_discovery_walks_packages_and_takes_each_function_where_it_is_defined(app: Write) -> None:
    app("shop.images", THUMB + "alias = thumbnail\ndef plain(n: int) -> int: return n\n")
    app("shop.api", "from shop.images import thumbnail\n")
    app("shop.deep.er.still", NODE + "@node(name='still.here')\ndef f() -> int: return 1\n")
    app("shop.__main__", "raise SystemExit('the program ran')\n")
    app("other.module", THUMB)
    found = discover(["shop"])
    assert [(each.name, each.imported_from) for each in found] == [
        ("still.here", "shop.deep.er.still:f"),
        ("shop.images.thumbnail", "shop.images:thumbnail"),
    ]
    assert [each.name for each in discover(["shop.images", "shop.images", "other"])] == [
        "shop.images.thumbnail",
        "other.module.thumbnail",
    ]


def test_discovery_goes_on_after_a_module_that_fails(app: Write) -> None:
    app("shop.a", "1 / 0\n")
    app("shop.b", THUMB)
    app("shop.c", "import missing_thing\n")
    failed: list[LoadError] = []
    assert [each.name for each in discover(["shop", "absent"], failed.append)] == ["shop.b.thumbnail"]
    assert [str(error).split()[0] for error in failed] == ["shop.a", "shop.c", "absent"]
    with pytest.raises(LoadError, match=r"shop\.a"):
        discover(["shop"])


def test_wrapped_nodes_are_found_under_their_own_name(app: Write) -> None:
    app(
        "shop.cached",
        NODE + "import functools\n@node\n@functools.cache\ndef slow(n: int) -> int: return n\n"
        "def deco(f):\n  @functools.wraps(f)\n  def inner(*a, **k): return f(*a, **k)\n  return inner\n"
        "@deco\n@node\ndef wrapped(n: int) -> int: return n\n",
    )
    assert [each.name for each in discover(["shop"])] == ["shop.cached.slow", "shop.cached.wrapped"]


def test_objects_that_answer_every_question_are_no_nodes(app: Write) -> None:
    app(
        "shop.odd",
        "from unittest import mock\ncall = mock.call\nmagic = mock.MagicMock()\n"
        "class Proxy:\n  def __getattr__(self, name): raise RuntimeError('outside of a request')\nproxy = Proxy()\n",
    )
    assert discover(["shop"]) == []


def test_load_binds_what_was_described(app: Write, tmp_path: Path) -> None:
    app("shop.images", THUMB)
    app("shop.named", NODE + "@node(name='other.name')\ndef f(n: int) -> int: return n\n")
    contracts = [
        contract_of(each.function, name=each.name, imported_from=each.imported_from) for each in discover(["shop"])
    ]
    travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(contracts), type=list[type(contracts[0])])  # type: ignore[misc]
    bound = load(travelled, [str(tmp_path)])
    assert set(bound) == {"shop.images.thumbnail", "other.name"}
    assert bound["other.name"].run({"n": 3}) == 3


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("def f(n: str) -> int: return 1\n", "shop.f has changed since it was described: parameter `n`"),
        ("def f(n: int, m: int) -> int: return 1\n", "parameter `m`"),
        ("def f(n: int) -> bytes: return b''\n", "the result"),
        ("async def f(n: int) -> int: return 1\n", "`async`"),
        ("def g(n: int) -> int: return 1\n", "has no 'f'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_load_refuses_what_is_no_longer_what_was_described(app: Write, now: str, told: str) -> None:
    def f(n: int) -> int: ...

    contract = contract_of(f, name="shop.f")
    app("shop", now)
    with pytest.raises(LoadError) as caught:
        load([contract])
    assert told in str(caught.value)


def test_directories_are_put_first_in_their_order() -> None:
    before = list(sys.path)
    try:
        put_first(["/b", "/a", "/b", before[-1]])
        assert sys.path == ["/b", "/a", before[-1], *(entry for entry in before if entry != before[-1])]
        put_first(["/a"])
        assert sys.path[:2] == ["/a", "/b"]
    finally:
        sys.path[:] = before


def test_binding_without_pydantic_does_not_load_it(tmp_path: Path) -> None:
    (tmp_path / "light.py").write_text("def f(n: int, image: bytes) -> dict[str, int]: return {}\n")
    code = (
        "import sys\nfrom exec_worker.loader import find, load, put_first\n"
        "from exec_worker.signature import contract_of\n"
        f"put_first([{str(tmp_path)!r}])\n"
        "load([contract_of(find('light.f').function, name='light.f')])\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_module_may_raise_anything(app: Write) -> None:
    app("shop.strange", "class Strange(Exception):\n  def __str__(self): return 'no words'\nraise Strange\n")
    failed: list[Any] = []
    discover(["shop"], failed.append)
    assert "Strange: no words" in str(failed[0])
