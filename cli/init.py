"""`shunter init`: a small project that runs, copied from `templates/`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from cli.stderr import say_error

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".in"


def init(directory: Path) -> int:
    """Write the project into `directory`; if a file of it is there already, write nothing."""
    files = {_target(directory, template): template.read_bytes() for template in sorted(_templates())}
    if there := [str(path) for path in files if path.exists()]:
        say_error(f"not overwritten: {', '.join(there)}; nothing was written")
        return 2
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        say_error(f"cannot write {error.filename}: {error.strerror}")
        return 1
    sys.stdout.write(_next_steps(directory, list(files)))
    return 0


def _templates() -> list[Path]:
    return [path for path in TEMPLATES.rglob(f"*{SUFFIX}") if path.is_file()]


def _target(directory: Path, template: Path) -> Path:
    return directory / template.relative_to(TEMPLATES).with_name(template.name.removesuffix(SUFFIX))


def _next_steps(directory: Path, files: list[Path]) -> str:
    lines = [f"wrote {path}" for path in files]
    lines += ["", "Next:"]
    if directory.resolve() != Path.cwd():
        lines.append(f"  cd {shlex.quote(str(directory))}")
    lines += ["  shunter start", "  curl 'http://127.0.0.1:8000/primes?below=5000000'"]
    return "\n".join(lines) + "\n"
