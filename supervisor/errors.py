"""What keeps a service from being started. Every one is the operator's to mend: exit code 2.

StartError
├── ConfigError      the configuration, or the application it names, is wrong; one fault
│   └── ConfigFaults several of them, told together
└── SpawnError       a process could not be started, or ended before it was ready
    └── Stopping     none is started any more
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXIT_CODE = 2
"""What a command exits with when one of these reaches it."""


def printable(line: str) -> str:
    """The line without characters that could do something to a terminal: they are shown by their names."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)


def quoted(text: str) -> list[str]:
    """The lines of somebody else's text, marked as such."""
    return [f"  | {printable(line)}" for line in text.rstrip().splitlines()]


class StartError(Exception):
    """Nothing was started, or everything that was has been stopped again."""


class ConfigError(StartError):
    """One fault: what is wrong, where it was written, which key it is about, and what to do.

    `where` is `shunter.yaml:12:7`, a variable's name or a flag; `detail` may be long (a traceback, the last
    lines of a log) and is printed after the rest. `str()` reads like a compiler's message.
    """

    def __init__(self, what: str, *, where: str = "", key: str = "", hint: str = "", detail: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.key = key
        self.hint = hint
        self.detail = detail

    @property
    def faults(self) -> Sequence[ConfigError]:
        """This fault, or all of them if there are several."""
        return (self,)

    def __str__(self) -> str:
        lines = [f"{self.where}: error: {self.what}" if self.where else f"error: {self.what}"]
        if self.key:
            lines.append(f"  key: {self.key}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join([*map(printable, lines), *quoted(self.detail)])


class ConfigFaults(ConfigError):
    """Several faults found in one go, so that they can be mended in one go."""

    def __init__(self, faults: Iterable[ConfigError]) -> None:
        self._faults = tuple(faults)
        super().__init__(f"{len(self._faults)} faults")

    @property
    def faults(self) -> Sequence[ConfigError]:
        """All of them, in the order in which they were found."""
        return self._faults

    def __str__(self) -> str:
        return "\n".join(map(str, self._faults))

    @classmethod
    def raise_for(cls, faults: Sequence[ConfigError]) -> None:
        """Raise what there is to raise: nothing, the one fault itself, or all in one."""
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise cls(faults)


class SpawnError(StartError):
    """A process could not be started: which one, why, and the last it said."""

    def __init__(self, what: str, *, argv: Sequence[str] = (), last_words: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.argv = tuple(argv)
        self.last_words = last_words

    def __str__(self) -> str:
        return "\n".join([printable(self.what), *quoted(self.last_words)])


class Stopping(SpawnError):
    """What was to be changed comes to its end instead: all of it, unless `why` says something else."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why or "the service is stopping")
