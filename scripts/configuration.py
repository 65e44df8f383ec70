"""Write docs/configuration.md from the docstrings of the configuration's types: run `make docs`; a test compares."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "configuration.md"
_HEAD = """# Configuration

Written from `supervisor/config.py` and `supervisor/process_group.py` by `make docs`. Every key can also be set by
`--set a.b.c=VALUE` or by `SHUNTER__A__B__C=VALUE`; the file comes first, then the environment, then `--set`. Items of
a list are reached by index or by `name`. An unknown key, a wrong type or a value out of bounds is an error with its
place; no guard can be switched off by leaving it out, emptying it or setting it to 0. Times are seconds.
"""


def _classes() -> dict[str, ast.ClassDef]:
    trees = [
        ast.parse((ROOT / "supervisor" / name).read_text())
        for name in ("config.py", "process_group.py", "command.py", "variables.py")
    ]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[tuple[str, ast.AnnAssign, str]]:
    found = []
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = str(following.value.value)
            found.append((statement.target.id, statement, " ".join(text.split())))
    return found


_PLAIN = {"Workers"}
"""Types of plain values that stand beside a section: there may be the one or the other."""


def _names(annotation: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


def _key(name: str, statement: ast.AnnAssign) -> str:
    """The name in the file: a field may be renamed because it is a Python keyword."""
    value = statement.value
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return name


def _default(statement: ast.AnnAssign) -> str:
    value = statement.value
    if value is None:
        return "required"
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg in {"default", "default_factory"}:
                return f"`{ast.unparse(keyword.value)}`"
        return ""
    told = ast.unparse(value)
    known = {"UNSET": "not set", "MiB": f"`{2**20}`", "True": "`true`", "False": "`false`", "()": "", "''": ""}
    return known.get(told, "" if told[0].isupper() else f"`{told}`")


def render() -> str:
    """The whole document."""
    classes = _classes()
    lines = [_HEAD]

    def section(node: ast.ClassDef, path: str) -> None:
        fields = _fields(node)
        leaves, below = [], []
        for name, statement, text in fields:
            names = _names(statement.annotation)
            inner = [classes[n] for n in sorted(names) if n in classes]
            key = _key(name, statement)
            if not inner or names & _PLAIN:
                leaves.append((key, _default(statement), text))
            if inner:
                many = "tuple" in names
                below.append((inner[0], f"{path}.{key}" if path else key, many))
        if leaves:
            doc = (ast.get_docstring(node) or "").split("\n\n", 1)
            lines.append(f"\n## `{path}`\n")
            lines.append(" ".join(doc[0].split()).split(": ", 1)[-1].capitalize().replace("http", "HTTP") + "\n")
            lines.append("| key | default | meaning |\n|---|---|---|")
            lines.extend(
                f"| `{key}` | {default} | {text.replace('|', chr(92) + '|')} |" for key, default, text in leaves
            )
        for inner, deeper, many in below:
            section(inner, deeper + ("[]" if many else ""))

    section(classes["Config"], "")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if DOCUMENT.read_text() == render() else "docs/configuration.md is out of date: make docs")
    DOCUMENT.write_text(render())
