"""Who may know whom, and what pure modules may touch."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
MAY_KNOW: dict[str, set[str]] = {
    "ipc": set(),
    "exec_worker": {"ipc"},
    "web_worker": {"ipc"},
    "supervisor": {"ipc"},
    "cli": {"ipc", "supervisor"},
}
PURE = [
    "ipc/batch.py",
    "ipc/contract.py",
    "ipc/decoding",
    "ipc/flow",
    "ipc/messages",
    "ipc/wire",
    "exec_worker/admission.py",
    "exec_worker/batches.py",
    "exec_worker/batching.py",
    "exec_worker/together.py",
    "supervisor/decision.py",
    "supervisor/group_plans.py",
    "supervisor/lifecycle.py",
    "supervisor/plan.py",
    "supervisor/policy.py",
]
WORLD = {"asyncio", "logging", "os", "random", "signal", "socket", "subprocess", "threading", "time"}
FILES = sorted(path.relative_to(ROOT) for package in MAY_KNOW for path in (ROOT / package).rglob("*.py"))


def nodes(path: Path, *, run_time_only: bool) -> Iterator[ast.AST]:
    """Every node of a file, without what only a type checker reads if that is asked for."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        if run_time_only and isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.orelse:
                yield from walk(child)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(ast.parse((ROOT / path).read_text(), str(path)))


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports(path: Path, *, run_time_only: bool = False) -> set[str]:
    """The absolute names a file imports."""
    names: set[str] = set()
    for node in nodes(path, run_time_only=run_time_only):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_point_one_way(path: Path) -> None:
    package = path.parts[0]
    others = tops(imports(path)) & MAY_KNOW.keys() - {package}
    assert others <= MAY_KNOW[package]


@pytest.mark.parametrize("path", [path for path in FILES if str(path).startswith(tuple(PURE))], ids=str)
def test_pure_modules_touch_nothing(path: Path) -> None:
    assert not WORLD & tops(imports(path, run_time_only=True))


def test_tags_are_never_compared_with_equals() -> None:
    """How long that takes says where they differ."""
    for path in (Path("ipc/wire/signing.py"), Path("ipc/wire/handshake.py")):
        text = (ROOT / path).read_text()
        assert text.count("compare_digest(") >= 1
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Compare):
                compared = ast.unparse(node)
                assert "digest" not in compared, f"{path}:{node.lineno}: {compared}"
                assert "proof" not in compared, f"{path}:{node.lineno}: {compared}"


def test_the_rules_are_about_files_that_exist() -> None:
    for name in [*PURE, *MAY_KNOW]:
        assert (ROOT / name).exists(), name
    assert len(FILES) > 50


@pytest.mark.parametrize(
    ("code", "run_time", "all_of_them"),
    [
        ("import os.path", {"os"}, {"os"}),
        ("from os import path", {"os"}, {"os"}),
        ("if TYPE_CHECKING:\n    import os\nelse:\n    import re", {"re"}, {"os", "re"}),
        ("def f():\n    import socket", {"socket"}, {"socket"}),
    ],
)
def test_imports_are_found_wherever_they_are(
    tmp_path: Path, code: str, run_time: set[str], all_of_them: set[str]
) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert tops(imports(path, run_time_only=True)) == run_time
    assert tops(imports(path)) == all_of_them
