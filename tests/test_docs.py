"""Documents that are written by programs say what the program would write now."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("script", ["configuration.py", "diagram.py"])
def test_what_programs_write_is_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_the_vectors_in_the_protocol_document_are_the_frozen_ones() -> None:
    text = (ROOT / "docs" / "wire.md").read_text().partition("## Test vectors")[2]
    shown = "".join(text.split())
    case = json.loads((ROOT / "tests" / "golden" / "link.json").read_text())[3]
    given, follows = case["given"], case["follows"]
    frozen = [given["root"], given["nonce_c"], given["nonce_s"], follows["frames"][0]]
    frozen += [value for name, value in follows.items() if name != "frames"]
    assert [value for value in frozen if value not in shown] == []
