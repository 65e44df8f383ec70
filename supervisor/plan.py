"""What will run, decided before anything does. Pure: a configuration and a description in, a plan or an error out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from ipc.contract import Described
    from ipc.messages.lifeline import EndpointSettings, ExecSettings, Limits, LogSettings, WebSettings

Role = Literal["web", "exec"]
Transport = Literal["memory", "tcp_local"]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group: how many workers, what they are told, and how long they may take. Times are seconds."""

    name: str
    role: Role
    workers: int
    stages: tuple[str, ...]
    settings: WebSettings | ExecSettings
    start_timeout: float = 120.0
    drain_timeout: float = 30.0


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
    log: LogSettings
    groups: tuple[GroupPlan, ...]
    endpoints: tuple[EndpointSettings, ...]
    described: Described
    environment_pass: tuple[str, ...] = ()
    """Names (with `*` wildcards) of variables that children inherit beside the built-in ones."""
    environment_set: tuple[tuple[str, str], ...] = ()
    secret: bytes | None = None
    """The root secret if the operator gave one (`secret_file`); None: a fresh one for each start."""
