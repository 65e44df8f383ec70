"""What a worker needs of the world around it: a group, or for a template what stands for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipc.ledger import Begun
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from ipc.names import WorkerName
    from supervisor.child import Worker
    from supervisor.events import Event
    from supervisor.process import Process


class Home(Protocol):
    """Makes its processes, says its first words, and is told what becomes of it."""

    def fork(self, name: WorkerName) -> Process | None:
        """Have its process forked from a warm template; None if there is none."""

    def launch(self, name: WorkerName) -> Process:
        """Make its process; SpawnError if that fails."""

    def greeting(self, name: WorkerName) -> Iterable[FromSupervisor]:
        """The first it is told, with its secrets."""

    def changed(self, worker: Worker) -> None:
        """Take note of its new state; called before anything is done about it."""

    def take_along(self, worker: Worker, until: float | None, row: int) -> None:
        """It crashed: have those end who do not go on without it."""

    def holds(self) -> bool:
        """Whether nobody is to start for now: somebody who was taken along has not ended yet."""

    def begins(self) -> bool:
        """Whether this is a first start: if it fails, nobody is started again."""

    def heard(self, worker: Worker, message: FromChild) -> None:
        """Take note of something it said that is not about its own life."""

    def buried(self, worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        """Take note of the calls that a process of its had begun, which is dead, and which it may have died of."""

    def tell(self, event: Event) -> None:
        """Say to everybody what happened."""
