"""Python's `logging` as lines of a worker's log: what the application says, and the libraries under it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipc.log import Level, Log

_LEVELS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_CHATTY = ("uvicorn", "asyncio", "multipart", "python_multipart", "httpx", "httpcore")
"""Libraries whose everyday messages say what Shunter says itself, or nothing."""


def nothing() -> Mapping[str, object]:
    """What is known of the request where there is none."""
    return {}


class Bridge(logging.Handler):
    """Writes each record as one line: the message as the event, the logger's name, and whose request it was."""

    def __init__(self, log: Log, context: Callable[[], Mapping[str, object]] = nothing) -> None:
        super().__init__()
        self._log, self._context = log, context

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; a record that cannot be formatted is the application's bug and must not become a crash."""
        try:
            event = record.getMessage().strip()
        except Exception as misfit:  # noqa: BLE001 - `logger.info("%d", "x")` raises here
            event = f"{record.msg} (its arguments do not fit it: {misfit})"
        fields: dict[str, Any] = {"logger": record.name, **self._context()}
        error = record.exc_info[1] if record.exc_info else None
        log = self._log
        if record.levelno >= logging.ERROR:
            log.error(event, error, **fields)
            return
        if error is not None:
            fields["traceback"] = logging.Formatter().formatException((type(error), error, error.__traceback__))
        if record.levelno >= logging.WARNING:
            log.warning(event, **fields)
        elif record.levelno >= logging.INFO:
            log.info(event, **fields)
        else:
            log.debug(event, **fields)


def install(log: Log, level: Level, context: Callable[[], Mapping[str, object]] = nothing) -> Bridge:
    """Let the root logger write to `log`; call it before the application is imported.

    `context` says what is known of the request at hand (`request_id`, `trace`), and is called for each record. An
    application that sets up handlers of its own keeps them.
    """
    bridge = Bridge(log, context)
    root = logging.getLogger()
    root.addHandler(bridge)
    root.setLevel(_LEVELS[level])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return bridge
