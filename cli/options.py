"""The options that several commands have, and which service they speak of."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration file.", show_default=True)
]
Named = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration file of the service. [default: shunter.yaml]",
        show_default=False,
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SHUNTER_STATE_DIR",
        help="Where the running service keeps its socket and its logs. [default: .shunter beside FILE]",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key of the configuration; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]

DEFAULT = Path("shunter.yaml")


def state_of(config: Path, given: Path | None) -> Path:
    """The state directory, which a command can find without reading the configuration."""
    return (given or config.absolute().parent / ".shunter").absolute()


def service_of(config: Path | None, given: Path | None) -> Path:
    """The state directory of a service that runs; if its file was named, it is to be that."""
    state_dir = state_of(config or DEFAULT, given)
    if config is not None:
        from cli.config_file import refusal  # noqa: PLC0415 -- only if one was named

        if (code := refusal(config, state_dir)) is not None:
            raise typer.Exit(code)
    return state_dir
