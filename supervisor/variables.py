"""The configuration of environment variables: which are handed on, and which are set. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import field

from supervisor.fields import VariableName, VariablePattern, VariableValue  # noqa: TC001 - read at run time
from supervisor.section import Section


class Environment(Section, frozen=True):
    """`environment`: what processes find in their environment beside the harmless."""

    passed: tuple[VariablePattern, ...] = field(default=(), name="pass")
    """Variables of the supervisor's environment to hand on, by name; `*` stands for any characters."""
    set: dict[VariableName, VariableValue] = {}  # noqa: RUF012 - of a Struct, which copies it
    """Variables to set. Values may be secrets: they are never printed."""

    def __repr__(self) -> str:
        return f"Environment(passed={self.passed!r}, set={list(self.set)!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show variables ask for this one."""
        return [("passed", self.passed), ("set", list(self.set))]
