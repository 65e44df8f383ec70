"""The forms a single value of the configuration can have, each with the words people are told of it. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ipc.names import GROUP_PATTERN
from supervisor import sizes


def text(pattern: str, says: str) -> Meta:
    """A string of one form; `says` is how people are told."""
    return Meta(pattern=rf"\A(?:{pattern})\Z", extra={"says": says})


def not_yet(**later: str) -> Meta:
    """Values that other versions know and this one refuses, each with its sentence."""
    return Meta(extra={"not_yet": later})


_NAME = r"[^\W\d]\w*"  # as Python has it: any letters
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"

Seconds = Annotated[float, Meta(gt=0, le=3600, extra={"says": "a time in seconds, more than 0 and at most 3600"})]
Size = Annotated[str, text(sizes.PATTERN, sizes.SAYS)]
Text = Annotated[str, text(r"[^\x00-\x1f\x7f]+", "a text that is not empty and has no control characters")]
Dotted = Annotated[str, text(rf"{_NAME}(?:\.{_NAME})*", "a dotted name such as 'shop.images'")]
NodeName = Annotated[str, text(rf"{_NAME}(?:\.{_NAME})*", "a node's name such as 'shop.images.thumbnail'")]
Function = Annotated[
    str, text(rf"{_NAME}(?:\.{_NAME})+", "a function's dotted name such as 'shop.security.require_user'")
]
App = Annotated[
    str,
    text(rf"(?:{_NAME}(?:\.{_NAME})*:{_NAME}(?:\.{_NAME})*)?", "'module:attribute' such as 'shop.main:app'"),
]
Stage = Annotated[str, text(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", "a stage's name such as 'core'")]
GroupName = Annotated[
    str,
    text(
        rf"(?!supervisor\Z){GROUP_PATTERN}",
        "a group's name: lower-case letters, digits and '_', a letter first, 32 at most, and not 'supervisor'",
    ),
]
VariableName = Annotated[str, text(_VARIABLE, "a variable's name such as 'DATABASE_URL'")]
VariablePattern = Annotated[
    str,
    text(
        r"(?=[A-Z_a-z0-9*]*[A-Za-z0-9])[A-Za-z_*][A-Za-z0-9_*]*",
        "a variable's name, with '*' for any characters beside at least one letter ('AWS_*')",
    ),
]
VariableValue = Annotated[str, text(r"[^\x00]*", "a text without NUL")]
Argument = Annotated[str, text(r"[^\x00]*", "a text without NUL")]
LocalUrl = Annotated[
    str,
    text(
        r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?(?:/[!-~]{0,1024})?",
        "a URL of this host such as 'http://127.0.0.1:4318/health'",
    ),
]
Sign = Annotated[str, text(r"[^\x00-\x1f\x7f]{1,256}", "a text of 1 to 256 characters without control characters")]
StopSignal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]
UserName = Annotated[
    str, text(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}", "a user's name such as 'shop', or number such as 1000")
]
Core = Annotated[int, Meta(ge=0, le=8191, extra={"says": "the number of a processor core such as 0"})]
Spread = Annotated[Literal["spread"], Meta(extra={"says": "a list of cores such as [0, 1], or 'spread'"})]
Umask = Annotated[
    str, text("0?0[0-7][2367]", "three octal digits such as 027, which keep others from writing and not the owner")
]
HeaderName = Annotated[str, text(r"[A-Za-z][A-Za-z0-9-]{0,63}", "a header's name such as 'X-Request-Timeout'")]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Prefix = Annotated[str, text(r"(?:/[^/\s]+)*", "a path without '/' at its end such as '/api/v1', or an empty text")]
