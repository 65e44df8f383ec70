"""What callers are told of calls whose worker is gone, or does not give up what nobody waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.flow.fate import Fate, Fates, Told
from ipc.flow.retry import verdict
from ipc.journey import Journey
from ipc.mesh import peer_of
from ipc.messages.lifeline import Abandoned, Suspected
from ipc.quarantine import mark_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.call import Call
    from ipc.flow.pending import Pending
    from ipc.messages.lifeline import Ended, FromChild

ABANDON_AFTER = 0.1
"""How long a worker may take to say that it gave up a call nobody waits for, seconds; then the supervisor is told."""


class Verdicts:
    """Calls between the end of a link and the word of the supervisor, and those that were called off."""

    def __init__(
        self,
        pending: Pending[Call],
        tell: Callable[[FromChild], object],
        again: Callable[[Call], None],
    ) -> None:
        """`tell` takes messages to the supervisor, `again` has a call sent anew."""
        self._pending, self._tell, self._again = pending, tell, again
        self._fates: Fates[Call] = Fates()
        self._called_off: dict[bytes, tuple[str, float]] = {}
        self._gone: dict[bytes, Callable[[], object]] = {}  # of calls that some worker may have, and of no others

    @property
    def waits(self) -> bool:
        """Whether `look` has to be called, though no call may be pending."""
        return bool(self._called_off) or len(self._fates) > 0

    def lost(self, server: str, calls: dict[bytes, Call]) -> None:
        """A link to `server` has ended, with these calls on it."""
        for call_id in self._called_off.keys() & calls.keys():
            del self._called_off[call_id]
        self._conclude(server, self._fates.lost(server, calls.values(), now()))

    def ended(self, message: Ended) -> None:
        """The supervisor says what a worker had begun that is dead."""
        self._conclude(message.server, self._fates.ended(message, now()))

    def strand(self, journey: Journey) -> None:
        """A pipeline's call was begun, and nobody has it any more."""
        self._conclude(journey.track.by, [Told(journey, Fate.BEGUN)])

    def call_off(self, call: Call, server: str) -> None:
        """Nobody waits for `call` any more, and `server`, which has it, was told so."""
        self._called_off[call.id] = server, now()

    def gave_up(self, call: Call) -> None:
        """Its worker has answered it, whatever it said."""
        if self._called_off:
            self._called_off.pop(call.id, None)
        if self._gone:
            self._is_gone(call)

    def answered(self, call_id: bytes, server: str) -> None:
        """`server`, which others have sent a pipeline's call to, has answered it."""
        if self._called_off.get(call_id, ("",))[0] == server:
            del self._called_off[call_id]

    def when_gone(self, call: Call, then: Callable[[], object]) -> None:
        """Call `then` once no worker has `call` any more, which nobody waits for: at once, if none has."""
        if (call.link is not None and call.id in peer_of(call.link).outstanding) or call in self._fates:
            self._gone[call.id] = then
        else:
            then()

    def _is_gone(self, call: Call) -> None:
        if (then := self._gone.pop(call.id, None)) is not None:
            then()

    def look(self, time: float) -> None:
        """To be called now and then: nobody waits for a word for ever, nor for a worker that does not give up.

        A node may keep its whole process from hearing that its caller has left; the supervisor needs no answer.
        """
        self._conclude("its worker", self._fates.overdue(time))
        if self._called_off:
            for call_id, (server, since) in list(self._called_off.items()):
                if time - since > ABANDON_AFTER:
                    del self._called_off[call_id]
                    self._tell(Abandoned(server, call_id))

    def _conclude(self, server: str, told: Iterable[Told[Call]]) -> None:
        """The fate of calls that `server` had is known: they are tried again, or their callers are told."""
        for call, fate in told:
            if fate is Fate.SUSPECT:  # nobody gets out of it by leaving early
                self._tell(Suspected(call.node, mark_of(call.meta, call.body)))
            if self._pending.peek(call.id) is not call:
                self._is_gone(call)
                continue
            error = verdict(call, fate, server, call.group.budget)
            if error is None:
                call.seat = None
                if isinstance(call, Journey):
                    call.restart()
                self._again(call)
            else:
                self._pending.leave(call.id)
                call.leave(error)
