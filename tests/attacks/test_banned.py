"""Nothing that is read becomes code: no module here has the means. See `test_bombs.py` for what runs."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = ["cli", "exec_worker", "ipc", "supervisor", "web_worker"]
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FILES.append(Path("shunter.py"))

MODULES = {"_pickle", "cloudpickle", "code", "codeop", "copyreg", "ctypes", "dill", "imp", "joblib", "jsonpickle"}
MODULES |= {"marshal", "pickle", "pickletools", "pty", "runpy", "shelve", "zipimport"}
"""What makes objects or code of bytes."""
BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec"}
YAML = {"FullLoader", "Loader", "UnsafeLoader", "full_load", "full_load_all", "load", "load_all", "unsafe_load"}
YAML |= {"CFullLoader", "CLoader", "CUnsafeLoader", "CSafeLoader", "BaseLoader", "unsafe_load_all", "add_constructor"}
"""All of it but `yaml.SafeLoader`, of which one module uses nodes and plain scalars."""

IMPORTS_BY_NAME = {
    "exec_worker/loader.py": "the application's modules, as the configuration names them",
    "exec_worker/sources.py": "knows how files of extensions end, and imports nothing",
    "web_worker/app.py": "the application, its dependencies and what runs embedded groups, as the bootstrap names them",
    "shunter.py": "finds out which installed package hides one of ours, and imports nothing",
}
"""Everybody who has `importlib`, and for what. No name in a request, a reply or an order gets there."""
USES_CTYPES = {"exec_worker/window.py", "ipc/hardening.py", "supervisor/orphans.py"}
"""prctl(2) has no other way in, and neither has an exception that another thread is to raise."""


def banned(text: str, name: str) -> Iterator[str]:
    """Every line of a module that has what it should not."""
    for node in ast.walk(ast.parse(text, name)):
        found: set[str] = set()
        match node:
            case ast.Import():
                found = {alias.name.partition(".")[0] for alias in node.names} & MODULES
            case ast.ImportFrom(module=module):
                top = (module or "").partition(".")[0]
                names = {alias.name for alias in node.names}
                found = {top} & MODULES or (names & YAML if top == "yaml" else set())
                found |= names & BUILTINS if top == "builtins" else set()
            case ast.Name(id=word):
                found = {word} & (BUILTINS | {"__builtins__"})
            case ast.Attribute(value=ast.Name(id="yaml"), attr=word):
                found = {word} & YAML
            case ast.Attribute(value=ast.Name(id="builtins"), attr=word):
                found = {word} & BUILTINS
            case ast.Attribute(value=ast.Attribute(attr="modules"), attr=word):
                found = {word} & MODULES
        for word in sorted(found):
            yield f"{name}:{getattr(node, 'lineno', 0)}: {word}"


def uses_importlib(text: str) -> bool:
    return any(
        (isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "importlib" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {"importlib", "pkgutil"})
        for node in ast.walk(ast.parse(text))
    )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_module_can_make_code_of_what_it_reads(path: Path) -> None:
    found = list(banned((ROOT / path).read_text(), str(path)))
    if str(path) in USES_CTYPES:
        found = [one for one in found if not one.endswith(" ctypes")]
    assert found == []


def test_only_those_import_by_name_who_import_what_is_configured() -> None:
    found = {str(path) for path in FILES if uses_importlib((ROOT / path).read_text())}
    assert found == set(IMPORTS_BY_NAME)


def test_all_files_are_looked_at() -> None:
    assert len(FILES) > 100
    assert {path.parts[0] for path in FILES} == {*PACKAGES, "shunter.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, marshal",
        "from pickle import loads",
        "def f():\n    import dill as json",
        "if TYPE_CHECKING:\n    import cloudpickle.cloudpickle",
        "eval('1')",
        "run = exec",
        "__import__(name)",
        "import builtins\nbuiltins.eval('1')",
        "from builtins import exec as run",
        "compile(text, '', 'exec')",
        "yaml.load(text, yaml.Loader)",
        "from yaml import unsafe_load",
        "__builtins__['eval']",
        "sys.modules.pickle",
    ],
)
def test_the_ban_finds_what_it_bans(code: str) -> None:
    assert list(banned(code, "module"))


@pytest.mark.parametrize("code", ["import json", "re.compile('x')", "class L(yaml.SafeLoader): ...", "self.eval(1)"])
def test_the_ban_lets_the_rest_be(code: str) -> None:
    assert not list(banned(code, "module"))


def test_the_suite_itself_unpickles_no_class() -> None:
    """The hook in `tests/conftest.py` is there from the first test on."""
    with pytest.raises(RuntimeError, match="unpickled"):
        pickle.loads(b"cos\ngetcwd\n.")  # noqa: S301 - that is the point


def test_names_that_are_imported_do_not_come_from_calls() -> None:
    """Neither who knows calls, nor who knows orders, can import by name."""
    for name in IMPORTS_BY_NAME:
        text = (ROOT / name).read_text()
        assert "ipc.messages.calls" not in text
        assert "ipc.messages.control" not in text
