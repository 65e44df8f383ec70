import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_a_handoff_has_the_types_of_its_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    monkeypatch.chdir(ROOT)
    python = f"--python-executable={sys.executable}"
    # An unused `type: ignore` is an error under --strict: what should not type-check is tested too.
    out, err, status = api.run(
        ["--strict", python, f"--cache-dir={tmp_path}", "--config-file=", "tests/typing/handoffs.py"]
    )
    assert status == 0, out + err
