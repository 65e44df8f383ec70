"""Sends calls to the workers whose turn it is, as the dispatch says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.errors import Expired
from ipc.mesh import Peer
from ipc.messages.calls import Flag, Kind

if TYPE_CHECKING:
    from ipc.call import Call
    from ipc.errors import Rejected
    from ipc.flow.dispatch import Seat, Send
    from ipc.flow.pending import Pending

MAX_BUDGET_MS = 2**32 - 1
# As plain numbers: looking up a member of an enumeration costs more than the comparison it is for.
_REQUEST, _LAST_RESORT, _AGAIN = int(Kind.REQUEST), int(Flag.LAST_RESORT), int(Flag.AGAIN)


class Sending:
    """The way of calls to workers; `pending` knows whether somebody still waits for them."""

    def __init__(self, pending: Pending[Call]) -> None:
        self._pending = pending

    def all(self, sends: list[Send[Call]], seat: Seat | None = None) -> bool:
        """Send what is still wanted, and what follows in the place of the rest; returns whether `seat` got any."""
        if not sends:
            return False
        time = now()
        served = False
        for send in sends:
            if self.one(send, time):
                served = served or send.seat is seat
            else:
                sends += send.call.group.dispatch.answered(send.seat, send.seat.room, None, time)
        return served

    def one(self, send: Send[Call], time: float) -> bool:
        """False if its time is over: then it has been told so, and the worker has not been told anything."""
        seat, call, last_resort = send
        budget = int((call.deadline - time) * 1000)
        if budget < 1:
            if self._pending.leave(call.id) is not None:
                call.fail(Expired("no worker was free in time"))
            return False
        link = call.group.links[seat]
        peer = link.state
        assert isinstance(peer, Peer)  # noqa: S101 - set when it was dialled
        call.seat, call.link, call.sent = seat, link, time
        peer.outstanding[call.id] = call
        flags = _LAST_RESORT if last_resort else 0
        if call.begun:
            flags |= _AGAIN
        link.send(_REQUEST, call.id, call.meta, call.body, flags, min(budget, MAX_BUDGET_MS))
        return True

    def again(self, call: Call) -> None:
        """The worker that had it is gone or could not take it yet, and it is to be tried once more."""
        self.all(call.group.dispatch.resubmit(call, now()))

    def turned_away(self, call: Call, error: Rejected) -> None:
        """It waited, and the dispatch will not send it: nothing was done."""
        if self._pending.leave(call.id) is not None:
            call.fail(error)
