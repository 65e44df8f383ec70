"""What the workers of a group are made of, and from another one while that is on trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from ipc.messages.lifeline import Admit, Bootstrap
from supervisor.child import Worker
from supervisor.life import Spec, State
from supervisor.nursery import Nursery
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.ledger import Begun
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from ipc.names import WorkerName
    from supervisor.events import Event
    from supervisor.home import Home
    from supervisor.nursery import MakeTemplate, Until
    from supervisor.plan import GroupPlan
    from supervisor.process import Process
    from supervisor.seat import Seat


@dataclass(frozen=True, slots=True)
class Edition:
    """One version of a group: what its workers are told, and how they are made."""

    plan: GroupPlan
    launch: Callable[[WorkerName], Process]
    greeting: Callable[[WorkerName], Iterable[FromSupervisor]]
    template: MakeTemplate | None = None


class Trial:
    """The first worker of another edition, beside those of a group: its home until it is decided that it stays.

    `changed` is called when the state of a template is new, and `until` waits for something to be true.
    """

    def __init__(
        self,
        edition: Edition,
        spec: Spec,
        seat: Seat,
        group: Home,
        changed: Callable[[], None],
        until: Until,
    ) -> None:
        self.edition = edition
        self.nursery = Nursery(edition.template, spec, changed, until)
        self.worker = Worker(seat, on_trial(spec), self)
        self._group = group

    @property
    def is_up(self) -> bool:
        """Whether its worker serves."""
        return self.worker.state is State.UP

    def end(self) -> None:
        """Its worker has a seat from now on."""
        if self.edition.plan.role == "web":
            self.worker.say(Admit())

    # What its worker asks of its home.

    def fork(self, name: WorkerName) -> Process | None:
        """A process from the template of this edition, if there is one that is warm."""
        return self.nursery.fork(name)

    def launch(self, name: WorkerName) -> Process:
        """Make its process; SpawnError if that fails."""
        return self.edition.launch(name)

    def greeting(self, name: WorkerName) -> Iterable[FromSupervisor]:
        """What it is told first; and a web worker that it has no clients yet."""
        for message in self.edition.greeting(name):
            held = isinstance(message, Bootstrap) and self.edition.plan.role == "web"
            yield structs.replace(message, on_trial=True) if held else message

    def changed(self, worker: Worker) -> None:
        """Its state is new."""
        self._group.changed(worker)

    def take_along(self, worker: Worker, until: float | None, row: int) -> None:
        """Nobody relies on it yet."""

    def holds(self) -> bool:
        """It waits for nobody."""
        return False

    def begins(self) -> bool:
        """The group it is to join has begun."""
        return False

    def heard(self, worker: Worker, message: FromChild) -> None:
        """It said something that is not about its own life."""
        self._group.heard(worker, message)

    def buried(self, worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        """It is dead."""
        self._group.buried(worker, begun, suspects)

    def tell(self, event: Event) -> None:
        """Say to everybody what happened."""
        self._group.tell(event)


def on_trial(spec: Spec) -> Spec:
    """The same for a worker that is not to be started again."""
    return replace(spec, policy=RestartPolicy(limit=0))
