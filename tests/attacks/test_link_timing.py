"""How long a comparison takes tells nobody how much of a forged tag was right."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {"supervisor/document.py"}
"""Whose `tag` is that of a YAML node."""
FILES = sorted(
    path
    for package in ("ipc", "supervisor", "exec_worker", "web_worker")
    for path in (ROOT / package).rglob("*.py")
    if str(path.relative_to(ROOT)) not in NOT_OURS
)
SECRET = re.compile(r"(^|_)(tag|mac|proof|digest|secret|leaf|token|signature|confirm(_\w+)?|server_key|password)$")
"""Names of what is compared in constant time or not at all."""
ABOUT = re.compile(r"(size|len|length)$")


def names(node: ast.AST) -> set[str]:
    """The words of what is compared: `frame.tag`, `mac()`, `tag[:4]`; not those of which only the length is."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return set()
    own = {node.id} if isinstance(node, ast.Name) else {node.attr} if isinstance(node, ast.Attribute) else set()
    return own.union(*(names(child) for child in ast.iter_child_nodes(node)))


def leaks(source: str) -> list[str]:
    """Comparisons that take longer the more of a secret was guessed right."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for operator, (left, right) in zip(node.ops, pairwise(sides), strict=True):
            words = names(left) | names(right)
            empty = any(isinstance(side, ast.Constant) and side.value in {b"", "", None} for side in (left, right))
            if isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn) and not empty:
                found += [ast.unparse(node) for word in words if SECRET.search(word) and not ABOUT.search(word)]
    return found


HARMLESS = {
    "end + self._tag != size",  # in a session: a length, whose name is its only fault
    "before.get(module.name) != module.digest",  # of the code of an application, which is no secret
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_tag_proof_or_secret_is_compared_with_equals(path: Path) -> None:
    assert [leak for leak in leaks(path.read_text()) if leak not in HARMLESS] == []


@pytest.mark.parametrize(
    "code",
    [
        "tag == frame[-32:]",
        "expected_mac != mac",
        "self._proof(key) == proof",
        "a.digest() == b",
        "x in (tag, old_tag)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert leaks(code)


@pytest.mark.parametrize("code", ["len(tag) == 32", "hmac.compare_digest(tag, mac)", "secret == b''", "tag_size != 16"])
def test_the_search_lets_the_rest_be(code: str) -> None:
    assert leaks(code) == []


def test_every_place_that_checks_a_proof_does_so_in_constant_time() -> None:
    calls = {
        str(path.relative_to(ROOT)): path.read_text().count("hmac.compare_digest(")
        for path in FILES
        if "compare_digest" in path.read_text()
    }
    assert calls == {"ipc/wire/signing.py": 1, "ipc/wire/handshake.py": 3}
