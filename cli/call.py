"""`shunter call NODE JSON`: a node, called through the links of the running service as a request would."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from cli.lines import inert
from cli.orders import DONE, FAILED, USAGE, complain, shown
from cli.stderr import say_error
from ipc.control import ControlError
from ipc.control import call as ask
from ipc.decoding.jsontext import json_object
from ipc.messages.control import MAX_ASKED, Called, CallNode, Refused

_STANDARD = "-"
"""Instead of a file's name: standard input, or output."""
_USUAL = 200
_WRONG = 400
"""Statuses from here on say that it did not go well."""


def call(state_dir: Path, node: str, arguments: str, *, body: str, output: str, timeout: float) -> int:
    """Call it and print what it returns; returns the exit code."""
    raw, sent, why = _given(arguments, body)
    if why:
        say_error(why)
        return USAGE
    try:
        order = CallNode(node, timeout, len(raw), None if sent is None else len(sent))
        answer, result = ask(state_dir, order, raw, sent)
    except ControlError as error:
        return complain(error)
    except KeyboardInterrupt:
        say_error("no longer waiting; the call is cancelled")
        return FAILED
    if isinstance(answer, Refused):
        return complain(answer)
    return _show(answer, result, output)


def _show(answer: Called, result: bytes, output: str) -> int:
    if answer.code:
        stage = f" at {answer.stage}" if answer.stage else ""
        about = f" (request_id {answer.request_id})" if answer.request_id else ""
        say_error(f"{answer.code}{stage}: {shown(answer.detail)}{about}")
        return FAILED
    if output not in {"", _STANDARD}:
        try:
            Path(output).write_bytes(result)
        except OSError as error:
            say_error(f"{output} cannot be written: {error.strerror}")
            return FAILED
    elif not output and (text := _readable(answer, result)) is not None:
        sys.stdout.write(text)
    elif not output and sys.stdout.isatty():
        what = answer.media_type or "no known type"
        say_error(f"{len(result):,} bytes of {what} are nothing for a terminal; -o FILE keeps them")
        return FAILED
    else:
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
    if answer.status not in {0, _USUAL}:
        say_error(f"status {answer.status}")
    return FAILED if answer.status >= _WRONG else DONE


def _readable(answer: Called, result: bytes) -> str | None:
    """JSON so that a person can read it; a text on a terminal with nothing in it that moves the cursor. Else None."""
    media_type = answer.media_type.partition(";")[0].strip()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            text = msgspec.json.format(result).decode() + "\n"
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # it says that it is, and is not
        return inert(text) if sys.stdout.isatty() else text
    if media_type.startswith("text/") and sys.stdout.isatty():
        text = result.decode(errors="replace")
        return shown(text) + ("" if text.endswith("\n") else "\n")
    return None


def _given(arguments: str, body: str) -> tuple[bytes, bytes | None, str]:
    """The parameters and the body as they are sent, and why not if they cannot be."""
    if arguments == body == _STANDARD:
        return b"", None, "parameters and body cannot both come from standard input"
    try:
        given = _read(arguments).decode() if arguments == _STANDARD else arguments
        sent = _read(body) if body else None
    except (OSError, UnicodeDecodeError) as error:
        return b"", None, f"what to call it with cannot be read: {error}"
    if len(raw := given.encode()) > MAX_ASKED or len(sent or b"") > MAX_ASKED:
        return b"", None, f"parameters and body have at most {MAX_ASKED} bytes each"
    if json_object(given.strip()) is None:
        return b"", None, "parameters are given as a JSON object, by their names, such as '{\"width\": 64}'"
    return raw, sent, ""


def _read(name: str) -> bytes:
    if name == _STANDARD:
        return sys.stdin.buffer.read(MAX_ASKED + 1)
    with Path(name).open("rb") as file:
        return file.read(MAX_ASKED + 1)
