"""The way from a file to a plan, for every command that needs one: `start`, `check`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import UNSET

from ipc.contract import Describe
from supervisor.decision import make_plan
from supervisor.description import describe
from supervisor.environment import scrub
from supervisor.errors import ConfigError
from supervisor.files import check_modules, read_secret
from supervisor.machine import look_around
from supervisor.programs import programs
from supervisor.sources import find_file, load
from supervisor.users import identities, of_everybody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supervisor.config import Config
    from supervisor.plan import Plan
    from supervisor.sources import Loaded

T = TypeVar("T")
STATE_DIR = ".shunter"
"""The state directory's name; it stands beside the configuration file."""
STATE_VARIABLE = "SHUNTER_STATE_DIR"
"""The variable that names another one."""


def load_plan(
    config_file: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    state_dir: Path | None,
    meanwhile: Callable[[], object] | None = None,
    *,
    again: bool = False,
) -> Plan:
    """Read the configuration, have the application described and decide what will run; ConfigError otherwise.

    `meanwhile` is called while another process imports the application, which takes most of the time. `again`: for a
    service that runs, so that it can be told what of it has changed.
    """
    path = find_file(config_file)
    loaded = load(path, environ, overrides)
    secret = _secret(loaded)
    users = _placed(loaded, lambda: identities(loaded.config))
    files = _placed(loaded, lambda: programs(loaded.config, path.parent, environ))
    asked = request(loaded.config, path, needs=again)
    check_modules(path.parent, [name.partition(":")[0] for name in (asked.app, *asked.packages, *asked.nodes) if name])
    variables = loaded.config.runtime.platform.environment
    # As the workers will see it: with other variables it might be another application.
    environment = scrub(environ, variables.passed, variables.set.items())
    described = describe(asked, environment, identity=of_everybody(loaded.config, users), meanwhile=meanwhile)
    found = find_state_dir(path, environ, state_dir)
    machine = look_around()

    def decide() -> Plan:
        return make_plan(
            loaded.config, described, config_path=path, state_dir=found, users=users, machine=machine, programs=files
        )

    return replace(_placed(loaded, decide), secret=secret)


def request(config: Config, path: Path, *, needs: bool = False) -> Describe:
    """What the describe process is asked about this configuration."""
    nodes = (
        stage
        for interface in config.runtime.web.interfaces
        for endpoint in interface.endpoints
        for stage in endpoint.stages
    )
    return Describe(
        sys_path=(str(path.parent),),
        packages=config.discovery.packages,
        nodes=tuple(dict.fromkeys(nodes)),
        app=config.runtime.web.app,
        needs=needs,
    )


def find_state_dir(config_path: Path, environ: Mapping[str, str], given: Path | None) -> Path:
    """Where the running service keeps its socket and its logs: as asked, as `SHUNTER_STATE_DIR` says, or beside."""
    if given is None and (named := environ.get(STATE_VARIABLE)):
        given = Path(named)
    return (given or config_path.parent / STATE_DIR).absolute()


def _secret(loaded: Loaded) -> bytes | None:
    name = loaded.config.runtime.platform.secret_file
    if name is UNSET:
        return None
    try:
        return read_secret(loaded.path.parent / name)
    except ConfigError as error:
        error.key = "runtime.platform.secret_file"
        _place(error, loaded)
        raise


def _placed(loaded: Loaded, decide: Callable[[], T]) -> T:
    """What `decide` returns; the faults it raises instead get their places."""
    try:
        return decide()
    except ConfigError as error:
        for fault in error.faults:
            _place(fault, loaded)
        raise


def _place(fault: ConfigError, loaded: Loaded) -> None:
    """Say where the key of a fault was written; a fault deep in the application has none."""
    if fault.key:
        fault.where = loaded.where(fault.key)
