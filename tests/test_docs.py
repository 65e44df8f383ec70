"""Documents that are written by programs say what the program would write now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_configuration_document_is_up_to_date() -> None:
    script = ROOT / "scripts" / "configuration.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
