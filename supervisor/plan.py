"""What will run, as data that nobody changes: the supervisor knows nothing else of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from ipc.confinement import Confinement
from supervisor.policy import RestartPolicy
from supervisor.process_group import MiB
from supervisor.recycling import Recycling

if TYPE_CHECKING:
    from pathlib import Path

    from ipc.contract import Described
    from ipc.messages.settings import (
        CommandSettings,
        EndpointSettings,
        ExecSettings,
        Limits,
        LogSettings,
        WebSettings,
    )
    from supervisor.scaling import Scaling

Role = Literal["web", "exec", "command"]
Transport = Literal["memory", "tcp_local", "unix"]

LINKS = "links"
"""The directory below the state directory in which exec workers make their sockets."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group: how many workers, what they are told, and how long they may take. Times are seconds."""

    name: str
    role: Role
    workers: int
    stages: tuple[str, ...]
    settings: WebSettings | ExecSettings | CommandSettings
    start_timeout: float = 120.0
    drain_timeout: float = 30.0
    embedded: bool = False
    """Whether its workers are threads of each web worker (`transport: memory`) instead of processes."""
    confinement: Confinement = field(default_factory=Confinement)
    """What its workers do to themselves before they hold a secret."""
    calls_at_once: int = 1
    """How many calls one worker runs at the same time: room in its ledger."""
    preload: bool = False
    """Whether its workers are forked from a process that has imported their nodes."""
    user: str = ""
    """Whom its workers become, as it was written; empty if they stay who the supervisor is."""
    scaling: Scaling | None = None
    """Between which numbers its load decides; None: it has `workers`, with which it starts otherwise."""
    recycling: Recycling = field(default_factory=Recycling)
    """When its workers are replaced for what they have used up."""
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    """When its workers are started again after they died."""
    hung_timeout: float = 10.0
    """How long the event loop of one may stand still."""
    in_place: bool = False
    """Whether a worker has ended before its successor is started."""
    passed: tuple[str, ...] = ()
    """A program's own: names (with `*` wildcards) of variables that it inherits beside the built-in ones."""
    added: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """A program's own: variables that are set for it."""

    @property
    def most(self) -> int:
        """How many workers it may come to have by itself."""
        return self.workers if self.scaling is None else self.scaling.most


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the supervisor needs to know; `groups` stand in the order in which they start."""

    config_path: Path
    state_dir: Path
    host: str
    port: int
    transport: Transport
    auth_mode: Literal["hmac", "aead"]
    limits: Limits
    rotate_every: float
    """How often workers are given new keys, seconds."""
    log: LogSettings
    groups: tuple[GroupPlan, ...]
    endpoints: tuple[EndpointSettings, ...]
    described: Described
    environment_pass: tuple[str, ...] = ()
    """Names (with `*` wildcards) of variables that children inherit beside the built-in ones."""
    environment_set: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    log_bytes: int = 10 * MiB
    """The longest log file."""
    log_files: int = 2
    """How many there are of each, with the older ones."""
    secret: bytes | None = field(default=None, repr=False)
    """The root secret if the operator gave one (`secret_file`); None: a fresh one for each start."""
    allow_debug: bool = False
    """Whether debuggers may look into the workers, and with them everybody of the same user."""
    as_root: bool = False
    """Whether the supervisor is root, and so are the workers of groups that have no user of their own."""

    def resized(self, name: str, workers: int) -> Plan:
        """The same with so many workers in one group, unless their number follows its load."""
        return replace(
            self,
            groups=tuple(
                replace(group, workers=workers) if group.name == name and group.scaling is None else group
                for group in self.groups
            ),
        )
