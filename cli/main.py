"""The commands as a person types them; what each does is in the module of its name.

Those modules are imported only when their command runs, so that asking a running service costs no more than
the question. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not running.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from cli.options import (
    DEFAULT,
    AsJson,
    ConfigFile,
    Named,
    Overrides,
    StateDir,
    service_of,
    state_of,
)
from cli.stderr import say_error
from cli.stdout import attend, forget, unwritten


class Commands(TyperGroup):
    """All of them. Whose reader has left, as after `| head`, has not failed for that."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- a type that typer keeps to itself
        """Carry one out."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            forget(sys.stdout)
            return 0


app = typer.Typer(
    cls=Commands,
    help="Run a Python web service as small process groups.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

keys = typer.Typer(help="The keys with which workers know each other.", no_args_is_help=True)
app.add_typer(keys, name="keys")


def run() -> int:
    """Carry out what the arguments say; returns the exit code."""
    code = 0
    attend()
    try:
        code = _obeyed()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except OSError as error:
        if not (why := unwritten(error)):
            raise
        return _unwritten(why)
    return _unwritten(why) if (why := unwritten()) else code


def _obeyed() -> int:
    try:
        code = app(prog_name="shunter", standalone_mode=False)
    except TyperException as error:
        if what := error.format_message().rstrip("."):  # else it has shown what can be said
            command = "shunter" if (context := getattr(error, "ctx", None)) is None else context.command_path
            hint = "" if what.endswith("?") else f"; {command} -h shows what can be said"
            say_error(f"{what[:1].lower()}{what[1:]}{hint}")
        return error.exit_code
    except typer.Abort:
        say_error("interrupted")
        return 1
    return code if isinstance(code, int) else 0


def _unwritten(why: str) -> int:
    say_error(f"the output cannot be written: {why}")
    return 1


def _version(asked: bool) -> None:
    if asked:
        version()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Run a Python web service as small process groups."""


@app.command()
def start(
    config: ConfigFile = DEFAULT,
    overrides: Overrides = None,
    state_dir: StateDir = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running in the background.")] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,  # what --detach starts
) -> None:
    """Start the service and stay with it; Ctrl-C drains it."""
    if detach:
        from cli.detach import detached  # noqa: PLC0415 -- see above; so in every command

        raise typer.Exit(detached(config, overrides or [], state_of(config, state_dir)))
    from cli import start as command  # noqa: PLC0415

    raise typer.Exit(command.start(config, overrides or [], state_of(config, state_dir), background=background))


@app.command()
def dev(config: ConfigFile = DEFAULT, overrides: Overrides = None, state_dir: StateDir = None) -> None:
    """Start the service and reload it whenever its code or configuration is edited; Ctrl-C ends it."""
    from cli import dev as command  # noqa: PLC0415

    raise typer.Exit(command.dev(config, overrides or [], state_of(config, state_dir)))


@app.command()
def stop(
    config: Named = None,
    state_dir: StateDir = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for calls under way.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the service: finish what it has, take nothing new, leave."""
    from cli import stop as command  # noqa: PLC0415

    raise typer.Exit(command.stop(service_of(config, state_dir), force=force, as_json=as_json))


@app.command()
def restart(
    what: Annotated[
        str, typer.Argument(metavar="GROUP|WORKER", help="Only the workers of this group, or this one: 'cpu-0'.")
    ] = "",
    config: Named = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Replace the workers, each successor being ready before its predecessor drains."""
    from cli import restart as command  # noqa: PLC0415

    raise typer.Exit(command.restart(service_of(config, state_dir), what, as_json=as_json))


@app.command(context_settings={"ignore_unknown_options": True})  # -1 is a number that the supervisor refuses
def scale(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Of which group.", show_default=False)],
    workers: Annotated[int, typer.Argument(metavar="N", help="How many workers.", show_default=False)],
    config: Named = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Have N workers in a group: new ones serve when this is done, those that leave have finished what they had."""
    from cli import scale as command  # noqa: PLC0415

    raise typer.Exit(command.scale(service_of(config, state_dir), group, workers, as_json=as_json))


@app.command()
def reload(config: Named = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Read configuration and application again and replace what has changed; what is broken changes nothing.

    Groups have as many workers as the file says again, whatever `scale` made of that.
    """
    from cli import reload as command  # noqa: PLC0415

    raise typer.Exit(command.reload(service_of(config, state_dir), as_json=as_json))


@keys.command()
def rotate(config: Named = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Give every worker new keys and forget the old ones; no call is lost."""
    from cli import keys as command  # noqa: PLC0415

    raise typer.Exit(command.rotate(service_of(config, state_dir), as_json=as_json))


@app.command()
def status(config: Named = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Show what runs."""
    from cli import status as command  # noqa: PLC0415

    raise typer.Exit(command.status(service_of(config, state_dir), as_json=as_json))


@app.command()
def top(config: Named = None, state_dir: StateDir = None) -> None:
    """Watch groups and workers live, and restart or scale them by a key."""
    from cli import top as command  # noqa: PLC0415

    raise typer.Exit(command.top(service_of(config, state_dir)))


@app.command()
def check(
    config: ConfigFile = DEFAULT,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Read the configuration and the application, show what would run, and start nothing."""
    from cli import check as command  # noqa: PLC0415

    raise typer.Exit(command.check(config, overrides or [], as_json=as_json))


@app.command()
def routes(
    config: ConfigFile = DEFAULT,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show every way into the service, read from the configuration and the application."""
    from cli import routes as command  # noqa: PLC0415

    raise typer.Exit(command.routes(config, overrides or [], as_json=as_json))


@app.command()
def logs(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Only the lines of this group.")] = "",
    config: Named = None,
    state_dir: StateDir = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=0,
            help="How many of the last lines. [default: 100, or all with --request or --since]",
            show_default=False,
        ),
    ] = None,
    option: Annotated[str, typer.Option("--group", metavar="GROUP", help="The same as the argument.")] = "",
    worker: Annotated[str, typer.Option(metavar="NAME", help="Only this worker, 'cpu-0' or 'cpu-0#7'.")] = "",
    level: Annotated[
        str, typer.Option(metavar="LEVEL", help="Only lines at least so bad: debug, info, warning, error.")
    ] = "",
    grep: Annotated[str, typer.Option(metavar="TEXT", help="Only lines with these characters.")] = "",
    request: Annotated[str, typer.Option(metavar="ID", help="Only lines of this request, of all groups.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Only lines of the last '10m', or since a time.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what the workers wrote and what happened to them, in the order of time."""
    from cli import logs as command  # noqa: PLC0415

    wanted = command.wanted_of(
        group=group, option=option, worker=worker, level=level, text=grep, request=request, ago=since
    )
    if isinstance(wanted, int):
        raise typer.Exit(wanted)
    count = lines if lines is not None or request or since else command.LINES
    raise typer.Exit(command.logs(service_of(config, state_dir), wanted, lines=count, follow=follow, as_json=as_json))


@app.command()
def events(
    config: Named = None,
    state_dir: StateDir = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many of the last events.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what happened to the service: starts, ends, restarts, reloads, trouble."""
    from cli import events as command  # noqa: PLC0415

    raise typer.Exit(command.events(service_of(config, state_dir), last=last, follow=follow, as_json=as_json))


@app.command()
def call(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its dotted name, as `shunter check` shows it.")],
    arguments: Annotated[
        str, typer.Argument(metavar="JSON", help="Its parameters, an object; - reads them from standard input.")
    ] = "{}",
    config: Named = None,
    state_dir: StateDir = None,
    body: Annotated[
        str, typer.Option("--body", metavar="FILE", help="The parameter that a request has as its body; - for stdin.")
    ] = "",
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where the result goes; - for stdout."),
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.001, max=3600.0, help="How long it may take, seconds.")] = 30.0,
) -> None:
    """Call a node through the links of the running service, and print what it returns."""
    from cli import call as command  # noqa: PLC0415

    state = service_of(config, state_dir)
    raise typer.Exit(command.call(state, node, arguments, body=body, output=output, timeout=timeout))


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")] = Path(),
) -> None:
    """Write a small project that runs, to begin with."""
    from cli import init as command  # noqa: PLC0415

    raise typer.Exit(command.init(directory))


@app.command()
def version() -> None:
    """Show the version."""
    from cli import version as command  # noqa: PLC0415

    raise typer.Exit(command.version())
