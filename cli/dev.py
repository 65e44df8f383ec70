"""`shunter dev`: a service at a terminal, reloaded whenever somebody edits it. What is broken waits for an edit."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import watchfiles
from anyio.to_thread import run_sync

from cli.output import err, show_error
from cli.start import complain, run_here
from supervisor.errors import EXIT_CODE, ConfigError, SpawnError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

QUICK = ("runtime.web.drain_timeout_seconds=1", "runtime.web.keep_alive_seconds=1")
"""So that the next edit does not wait for who holds on to the version before; `--set` may say otherwise."""
SETTLED = 100
"""An editor writes several files, or one in steps: they are one change once nothing has come for so long, ms."""
_GRAIN = 0.05
"""How far a file's time may be behind the clock, seconds."""
_WATCHING: dict[str, Any] = {"debounce": SETTLED, "step": 50, "rust_timeout": 500, "yield_on_timeout": True}
_BLIND = (OSError, RuntimeError)
"""What comes of a bound of the kernel's on watches, or of a directory that may not be read."""
_LOOK_EVERY = 1.0
"""Between looks for an edit where nothing can be watched, seconds."""
_SHOW_CURSOR = "\x1b[?25h"


def dev(config: Path, overrides: Sequence[str], state_dir: Path) -> int:
    """Run the service and reload it with each edit until it is told to stop; returns the exit code."""
    # Two edits within a second that leave a file's length as it was are one to the cache.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    edits = Edits(config.absolute())
    what = f"watching {config.name} and the .py files in and below {edits.directory}: an edit is a reload"
    err.print(what, style="dim", soft_wrap=True)

    with _terminal_kept():
        try:
            while True:
                try:
                    edits.since = time.time() - _GRAIN
                    run_here(config, [*QUICK, *overrides], state_dir, beside=edits.watch)
                except (ConfigError, SpawnError) as error:
                    show_error(error)
                    edits.wait()
                else:
                    return 0
        except StartError as error:
            complain(error, config, state_dir)
            return EXIT_CODE
        except KeyboardInterrupt:
            return 0


class Edits(watchfiles.DefaultFilter):
    """What is an edit of the service: a file of code below the configuration's directory, or the configuration."""

    def __init__(self, config: Path) -> None:
        self._config = str(config)
        self.directory = config.parent
        self.since = 0.0
        """When the service began to be read, Unix seconds."""
        super().__init__()

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Whether it is one."""
        return path == self._config or (path.endswith(".py") and super().__call__(change, path))

    async def watch(self, reload: Callable[[], None]) -> None:
        """Have each edit served. Where nothing can be watched the service goes on without."""
        first = True
        try:
            async for found in watchfiles.awatch(self.directory, watch_filter=self, **_WATCHING):
                if found or (first and await run_sync(self.missed)):
                    reload()
                first = False
        except* _BLIND as errors:
            told = f"edits are not seen: {errors.exceptions[0]}; `shunter reload` has them served"
            err.print(told, style="yellow", soft_wrap=True)

    def wait(self) -> None:
        """Return after the next edit; KeyboardInterrupt if somebody does not want to wait."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        err.print("waiting for an edit; Ctrl-C ends", style="dim")
        with suppress(*_BLIND):
            for found in watchfiles.watch(self.directory, watch_filter=self, **_WATCHING):
                if found or self.missed():
                    return
        while not self.missed():
            time.sleep(_LOOK_EVERY)

    def missed(self) -> bool:
        """Whether there was an edit before anybody watched."""
        for where, directories, files in os.walk(self.directory):
            directories[:] = [name for name in directories if name not in self.ignore_dirs]
            for path in (f"{where}/{name}" for name in files):
                with suppress(OSError):
                    if self(watchfiles.Change.modified, path) and Path(path).stat().st_mtime > self.since:
                        return True
        return False


@contextmanager
def _terminal_kept() -> Iterator[None]:
    """Afterwards the terminal is as it was, whatever workers, debuggers and pagers have done to it."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        _restore(before)


def _restore(before: list[Any]) -> None:
    with suppress(termios.error, OSError):
        if os.tcgetpgrp(0) != os.getpgrp():
            return  # it runs in the background: the terminal is another's, and to touch it would stop this process
        termios.tcsetattr(0, termios.TCSANOW, before)
    if sys.stdout.isatty():
        with suppress(OSError):
            sys.stdout.write(_SHOW_CURSOR)
            sys.stdout.flush()
