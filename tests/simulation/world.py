"""Web and exec workers in virtual time: the real `Dispatch` and `Admission`, a network with a delay, nothing else.

What surrounds the two in a process (`ipc.caller`, `exec_worker.service`) is played here in a few lines. Between two
workers messages keep their order; nothing is lost but by the end of one of them. One seed, one story.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exec_worker.admission import GIVE_BACK_AFTER, KEEP_SLOT, Admission, Verdict
from ipc.errors import Busy
from ipc.flow.dispatch import Dispatch, Seat, Send
from ipc.priority import NORMAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.errors import Rejected

LEG = 0.00004
"""One way between two workers, seconds."""


@dataclass(eq=False)
class Call:
    """One call, from its arrival to its verdict."""

    arrived: float
    takes: float
    deadline: float = float("inf")
    size: int = 1
    left: bool = False
    node: str = "render"
    priority: int = NORMAL
    sent: float = 0.0
    seat: Seat | None = None
    runs: int = 0
    running: bool = False
    verdicts: list[str] = field(default_factory=list)
    ended: float = 0.0
    then: Callable[[Call], None] | None = None
    """Told when it is over."""


@dataclass(eq=False)
class Asked:
    """The same as an exec worker has it."""

    call: Call
    client: Web
    deadline: float
    last_resort: bool
    patience: float = 0.0


class World:
    """Everybody, and the order of events."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self.webs: list[Web] = []
        self.execs: list[Exec] = []
        self.said: Counter[str] = Counter()

    def at(self, delay: float, event: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), event, args))

    def go(self, until: float = float("inf")) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event, args = heapq.heappop(self._events)
            event(*args)

    def say(self, link: Link, to_exec: bool, what: str, *args: object) -> None:
        self.said[what] += 1
        self.at(LEG, link.hear, to_exec, what, args)


class Link:
    """One web worker and one exec worker, until one of them is gone."""

    def __init__(self, web: Web, exec_: Exec) -> None:
        self.web, self.exec = web, exec_
        self.seat: Seat | None = None
        self.outstanding: dict[int, Call] = {}

    def hear(self, to_exec: bool, what: str, args: tuple[object, ...]) -> None:
        """What was said arrives, if whoever is to hear it is there; the rest of a dead one's words arrives too."""
        if to_exec and self.exec.alive and self.web in self.exec.links:
            getattr(self.exec, "on_" + what)(self, *args)
        elif not to_exec and self.web.alive and self in self.web.links:
            getattr(self.web, "on_" + what)(self, *args)


class Web:
    """What `ipc.caller` does with a group."""

    def __init__(self, world: World, max_calls: int = 10**9) -> None:
        self.world = world
        self.alive = True
        self.links: list[Link] = []
        self.by_seat: dict[Seat, Link] = {}
        self.dispatch: Dispatch[Call] = Dispatch(world.rng, max_calls, 10**12, self.turned_away)
        self.pending: set[Call] = set()

    def connect(self, exec_: Exec) -> None:
        link = Link(self, exec_)
        self.links.append(link)
        exec_.links[self] = link
        link.seat, sends = self.dispatch.up(exec_.name, self.world.now, exec_.admission.slots)
        self.by_seat[link.seat] = link
        self.send(sends)

    def ask(self, call: Call) -> None:
        self.pending.add(call)
        try:
            send = self.dispatch.submit(call, self.world.now)
        except Busy:
            self.settle(call, "busy")
            return
        if send is not None:
            self.send([send])

    def turned_away(self, call: Call, error: Rejected) -> None:
        self.settle(call, error.code)

    def send(self, sends: list[Send[Call]]) -> set[Seat]:
        served = set()
        for send in sends:
            seat, call, last_resort = send
            if call.deadline <= self.world.now:
                self.settle(call, "expired")
                sends += self.dispatch.answered(seat, seat.room, None, self.world.now)
                continue
            link = self.by_seat[seat]
            assert call.seat is None, "sent while it is elsewhere"
            assert not call.left
            call.seat, call.sent = seat, self.world.now
            link.outstanding[id(call)] = call
            served.add(seat)
            self.world.say(link, True, "request", Asked(call, self, call.deadline, last_resort))
        return served

    def settle(self, call: Call, verdict: str) -> None:
        if call in self.pending:
            self.pending.remove(call)
            call.verdicts.append(verdict)
            call.ended = self.world.now
            if call.then is not None:
                call.then(call)

    def leave(self, call: Call, verdict: str) -> None:
        """Its caller goes, or its time is over."""
        if call not in self.pending:
            return
        if call.seat is None:
            self.dispatch.withdraw(call)
        elif (link := self.by_seat.get(call.seat)) is not None:
            self.world.say(link, True, "cancel", call)
        self.settle(call, "expired" if verdict == "timeout" and call.seat is None else verdict)

    def down(self, link: Link) -> None:
        assert link.seat is not None
        self.dispatch.down(link.seat)
        self.by_seat.pop(link.seat, None)

    def sweep(self) -> None:
        """Deadlines."""
        for call in [call for call in self.pending if call.deadline <= self.world.now]:
            self.leave(call, "timeout")

    def withdraw(self, link: Link) -> None:
        """The worker is not to be called any more, but may answer what it has."""
        if link in self.links:
            self.down(link)

    def vanish(self) -> None:
        """This web worker dies with everything it has."""
        self.alive = False
        for link in self.links:
            self.world.at(LEG, link.exec.lost, self)

    def lost(self, link: Link) -> None:
        """The worker died."""
        if link not in self.links:
            return
        self.links.remove(link)
        self.down(link)
        for call in link.outstanding.values():
            self.settle(call, "lost")

    def on_reply(self, link: Link, call: Call, room: int, slot_kept: bool) -> None:
        del link.outstanding[id(call)]
        self.settle(call, "done")
        assert link.seat is not None
        served = self.send(self.dispatch.answered(link.seat, room, call, self.world.now))
        if slot_kept and link.seat not in served:
            self.world.say(link, True, "decline")

    def on_not_started(self, link: Link, call: Call, why: str) -> None:
        del link.outstanding[id(call)]
        assert link.seat is not None
        if why in {"busy", "draining"}:
            call.seat = None
            self.send(self.dispatch.given_back(link.seat, call if call in self.pending else None, self.world.now))
        else:
            self.settle(call, why)
            self.send(self.dispatch.answered(link.seat, link.seat.room, None, self.world.now))

    def on_ready(self, link: Link) -> None:
        assert link.seat is not None
        send = self.dispatch.offered(link.seat, self.world.now)
        if send is None or link.seat not in self.send([send]):
            self.world.say(link, True, "decline")


class Exec:
    """What `exec_worker.service` does."""

    def __init__(self, world: World, name: str, slots: int = 1) -> None:
        self.world, self.name = world, name
        self.alive = True
        self.links: dict[Web, Link] = {}
        self.admission: Admission[Asked] = Admission(slots)
        self.look_at = float("inf")

    def tell(self, client: object, what: str, *args: object) -> None:
        if (link := self.links.get(client)) is not None:  # type: ignore[call-overload]
            self.world.say(link, False, what, *args)

    def watch(self, after: float) -> None:
        if self.world.now + after < self.look_at:
            self.look_at = self.world.now + after
            self.world.at(after, self.look, self.look_at)

    def look(self, due: float) -> None:
        if due != self.look_at or not self.alive:
            return
        self.look_at = float("inf")
        now = self.world.now
        for asked in self.admission.give_back(now):
            self.tell(asked.client, "not_started", asked.call, "busy")
        for other in self.admission.overdue(now):
            self.tell(other, "ready")
        if (again := self.admission.waits_for_time) is not None:
            self.watch(again)

    def on_request(self, link: Link, asked: Asked) -> None:
        verdict = self.admission.arrive(asked, self.world.now)
        if verdict is Verdict.START:
            self.start(asked)
        elif verdict is Verdict.HOLD:
            self.watch(GIVE_BACK_AFTER)
        else:
            self.tell(asked.client, "not_started", asked.call, verdict.value)
            if verdict is Verdict.BUSY:
                self.watch(KEEP_SLOT)
            else:
                self.on_decline(link)

    def on_decline(self, link: Link) -> None:
        if (other := self.admission.declined(link.web, self.world.now)) is not None:
            self.tell(other, "ready")

    def on_cancel(self, _link: Link, call: Call) -> None:
        for asked in list(self.admission._held):
            if asked.call is call and self.admission.cancel(asked):
                self.tell(asked.client, "not_started", call, "cancelled")

    def start(self, asked: Asked) -> None:
        call = asked.call
        assert not call.running, "runs twice at once"
        assert call.deadline > self.world.now, "begun after its deadline"
        call.running = True
        call.runs += 1
        self.world.at(call.takes, self.done, asked)

    def done(self, asked: Asked) -> None:
        asked.call.running = False
        if not self.alive:
            return
        following = self.admission.finished(asked, self.world.now)
        mine = following.offer is asked.client
        if following.offer is not None and not mine:
            self.tell(following.offer, "ready")
        self.tell(asked.client, "reply", asked.call, self.admission.room(len(self.links)), mine)
        for late in following.expired:
            self.tell(late.client, "not_started", late.call, "expired")
        if following.start is not None:
            self.start(following.start)

    def lost(self, web: Web) -> None:
        """A web worker is gone."""
        if self.links.pop(web, None) is not None:
            other = self.admission.gone(web, self.world.now)
            if other is not None:
                self.tell(other, "ready")

    def die(self) -> None:
        self.alive = False
        for link in self.links.values():
            self.world.at(LEG, link.web.lost, link)

    def drain(self) -> None:
        for asked in self.admission.drain():
            self.tell(asked.client, "not_started", asked.call, "draining")


def mesh(world: World, webs: int, execs: int, slots: int = 1) -> None:
    """So many of each, and all know each other; each exec worker with so many slots."""
    world.webs = [Web(world) for _ in range(webs)]
    world.execs = [Exec(world, f"cpu-{slot}#1", slots) for slot in range(execs)]
    for web in world.webs:
        for each in world.execs:
            web.connect(each)


def ideal(calls: list[Call], servers: int, way: float = 2 * LEG) -> list[float]:
    """The latencies of one queue for all, at no cost but that of the way there and back."""
    free = servers
    waiting: deque[Call] = deque()
    latencies = []
    events: list[tuple[float, int, Call, bool]] = []
    order = itertools.count()
    for call in calls:
        heapq.heappush(events, (call.arrived, next(order), call, True))
    while events:
        now, _, call, comes = heapq.heappop(events)
        if comes:
            waiting.append(call)
        else:
            free += 1
            latencies.append(now - call.arrived + way)
        while free and waiting:
            begun = waiting.popleft()
            free -= 1
            heapq.heappush(events, (now + begun.takes, next(order), begun, False))
    return latencies
