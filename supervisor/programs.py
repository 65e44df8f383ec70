"""The files that groups with a `command` run: where they are, and whether they can be run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from supervisor.environment import of_program
from supervisor.errors import ConfigError, ConfigFaults
from supervisor.trust import check_above, check_mode, check_owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor.config import Config


def programs(config: Config, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The file of each such group, as its program will be able to find it; ConfigError for all that cannot be run."""
    found: dict[str, str] = {}
    faults: list[ConfigError] = []
    for n, group in enumerate(config.runtime.platform.process_groups):
        if group.command is UNSET:
            continue
        variables = of_program(environ, group.environment.passed, group.environment.set.items())
        try:
            found[group.name] = _find(group.command[0], directory, variables.get("PATH", os.defpath))
        except ConfigError as error:
            error.key = f"runtime.platform.process_groups.{n}.command.0"
            faults.append(error)
    ConfigFaults.raise_for(faults)
    return found


def _find(name: str, directory: Path, path: str) -> str:
    if "/" in name:
        file = directory / name
        if not file.exists():
            raise ConfigError(f"there is no file {file}", hint=f"relative paths are looked for in {directory}")
        _check(file)
        return str(file)
    # What is not absolute in PATH depends on where somebody stands, and a service stands nowhere.
    for part in filter(os.path.isabs, path.split(os.pathsep)):
        found = Path(part) / name
        if name and found.is_file() and os.access(found, os.X_OK):
            return str(found)
    raise ConfigError(
        f"there is no program {name!r} in PATH",
        hint=f"install it, write its path, or say where to look: environment: {{set: {{PATH: ...}}}} (PATH is {path})",
    )


def _check(file: Path) -> None:
    """ConfigError unless a file that was named by its path can be run, and is nobody else's to change."""
    what = f"the program {file}"
    if not file.is_file():
        raise ConfigError(f"{what} is no regular file")
    if not os.access(file, os.X_OK):
        raise ConfigError(f"{what} is not executable", hint=f"chmod +x {file}")
    real = file.resolve()
    check_owner(real.stat(), what, real)
    check_mode(real.stat(), what, real)
    check_above(real, what)
