"""One seeded enemy of a whole service: it sits on the network and at the power switch, and has its own connections.

Bytes that it loses or puts in another order are bytes of a stream, and a stream with a gap does not live on: so
whatever it tampered with, it cuts within a second.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from machine import RUNS, ExecWorker, SimulatedService, WebWorker
from network import Network, Side
from virtual import Process, Violation, World
from witness import DIES, FAILS, HOLDS, TOO_LARGE, Witness

from ipc.stats import refusals
from ipc.wire.frame import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = {"cpu": 2, "io": 1}
HOSTILE = 5.0
"""How long it rages, seconds."""
STALL = 2.5
"""How long it may keep bytes back, or a process stopped; so long some of what it did goes on."""
RECOVERY = 6.0
"""So soon after that everybody is served again, seconds: a worker's start and the wait before it, twice, and half a
handshake that nobody finishes."""
PATIENCE = 3.0
"""The timeout of the calls that are to show it."""
RECORDED = 200


class Wild(asyncio.Protocol):
    """An end of a connection in the enemy's hands. It says what it has prepared, a piece after each answer."""

    def __init__(self, nemesis: Nemesis, pieces: list[bytes], closes: bool) -> None:
        self.nemesis, self.pieces, self.closes = nemesis, pieces, closes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._say()

    def data_received(self, data: bytes) -> None:
        self.nemesis.record(data)
        self._say()

    def _say(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        elif self.closes:
            self.transport.close()


class Nemesis:
    """The enemy of one world."""

    def __init__(self, seed: int, **mood: Any) -> None:
        """`mood`: what it is to be like, instead of what its seed says."""
        self.world = World(seed)
        self.network = Network(self.world)
        self.witness = Witness(self.world)
        self.rng = self.world.rng
        self.webs = self.rng.choice([1, 2, 2, 3])
        self.peaceful = self.rng.random() < 0.1
        """Nobody does anything but work, and rotate keys: then nothing may be lost or refused."""
        self.rate = 0.0 if self.peaceful else self.rng.choice([0.0, 0.002, 0.01, 0.03])
        """How many of the writes are tampered with."""
        self.violence = 0.0 if self.peaceful else self.rng.choice([0.0, 0.5, 1.0, 2.0])
        """Crashes, stops and restarts a second."""
        self.load = self.rng.choice([10, 25, 50])
        """Calls a second."""
        self.recorded: list[bytes] = []
        self.late: dict[Side, bytes] = {}
        self.hostile = True
        self.only: tuple[str, ...] = ()
        """The faults it knows, if not all."""
        vars(self).update(mood)

    # -- a whole world, from beginning to end

    def go(self) -> None:
        """Live it; Violation if something happens that must not."""
        world = self.world
        self.service = SimulatedService(world, self.network, self.witness, self.webs, GROUPS)
        self.enemy = Process(world, "enemy", 2)
        self.network.tamper = self.tamper
        world.at(0.0, self.look)
        self.until("the service has started", 10.0, lambda: self.service.started)
        begun = world.now
        self.plan_calls(begun)
        self.plan_violence(begun)
        world.run(begun + HOSTILE)
        self.calm()
        world.run(begun + HOSTILE + STALL)
        self.until("every seat is taken", RECOVERY - 1.0, lambda: self.service.complete)
        world.run(world.now + 1.0)
        self.probe()
        world.run(world.now + PATIENCE + 1.5)
        self.at_the_end()

    def until(self, what: str, seconds: float, true: Callable[[], bool]) -> None:
        end = self.world.now + seconds
        while not true():
            if self.world.now >= end:
                raise Violation(f"I6: {what}: not within {seconds} s")
            self.world.run(self.world.now + 0.1)

    def plan_calls(self, begun: float) -> None:
        at = begun
        while (at := at + self.rng.expovariate(self.load)) < begun + HOSTILE:
            self.world.at(at, self.ask)
            if self.rng.random() < 0.02:
                for _ in range(self.rng.choice([5, 40])):
                    self.world.at(at, self.ask)

    def plan_violence(self, begun: float) -> None:
        weighted = [
            (self.kill, 4), (self.stop, 3), (self.restart, 2), (self.cut, 3), (self.slip_in, 3), (self.intrude, 6),
            (self.squat, 2), (self.crowd, 1), (self.sleep, 1), (self.rotate, 3),
        ]  # fmt: skip
        for _ in range(self.rng.choice([0, 1, 4])):
            self.world.at(begun + self.rng.uniform(0, HOSTILE), self.rotate)
        known = [(fault, weight) for fault, weight in weighted if not self.only or fault.__name__ in self.only]
        faults = [fault for fault, weight in known for _ in range(weight)]
        at = begun
        while self.violence and (at := at + self.rng.expovariate(2 * self.violence)) < begun + HOSTILE:
            self.world.at(at, self.rng.choice(faults))

    # -- calls

    def ask(self) -> None:
        webs = [web for web in self.service.living(WebWorker) if not web.draining]
        if not webs:
            return
        rng, web = self.rng, self.rng.choice(webs)
        how = rng.choice([RUNS] * 60 + [FAILS, FAILS, HOLDS, HOLDS, TOO_LARGE] + [DIES] * (self.violence > 0))
        takes = rng.choice([0.0, 0.0002, 0.001, 0.002, 0.002, 0.01, 0.01, 0.05, 0.05, 0.3])
        timeout = rng.choice([0.0005, 0.02, 0.1, 0.5, 2.0, 2.0, 2.0])
        cancel = rng.uniform(0, timeout) if rng.random() < 0.1 else None
        web.process.post(web.ask, f"{rng.choice(list(GROUPS))}.node", takes, how, timeout, cancel)

    def probe(self) -> None:
        """I6: every web worker is served by every group."""
        self.probes: list[Any] = []
        webs = self.service.living(WebWorker)
        for web in webs:
            for group in GROUPS:
                for _ in range(2):
                    web.process.post(self.probe_one, web, f"{group}.node")
        self.expected = len(webs) * len(GROUPS) * 2

    def probe_one(self, web: WebWorker, node: str) -> None:
        self.probes.append(web.ask(node, 0.001, RUNS, PATIENCE, None))

    def at_the_end(self) -> None:
        self.witness.at_the_end()
        served = [asked.verdict for asked in self.probes]
        if len(served) != self.expected or self.expected != 4 * self.webs or set(served) != {"done"}:
            raise Violation(f"I6: {self.expected} probes of {self.webs} web workers, and their verdicts: {served}")
        if self.peaceful and (refusals.total() or self.witness.verdicts["LinkLost"]):
            raise Violation(
                f"I6: nobody did anything, and {self.witness.verdicts['LinkLost']} calls were lost, {refusals}"
            )
        self.nothing_is_left(self.service.living(WebWorker), self.service.living(ExecWorker))

    def nothing_is_left(self, webs: list[WebWorker], execs: list[ExecWorker]) -> None:
        for web in webs:
            if web.caller.waiting:
                raise Violation(f"I5: {web.caller.waiting} calls are still in the table of {web.name}")
            for peer in web.caller._mesh._peers.values():
                if peer.outstanding or peer.link is None:
                    raise Violation(f"I6: {web.name} has {len(peer.outstanding)} calls at {peer.spec.name}, or no link")
        for each in execs:
            if each.responder.links != len(webs) or each.responder._half_open:
                raise Violation(f"I5: {each.process.name} has {each.responder.links} links for {len(webs)} web workers")
            if each.service._calls or each.service._admission.running:
                raise Violation(f"I5: {each.process.name} still has calls")
        left = [side for side in self.network.sides.values() if side.process is not self.enemy]
        if len(left) != 2 * len(webs) * len(execs):
            raise Violation(f"I5: {len(left)} ends of connections are open, {2 * len(webs) * len(execs)} are needed")

    def look(self) -> None:
        webs, execs = self.service.living(WebWorker), self.service.living(ExecWorker)
        responders = [each.responder for each in execs if each.responder is not None]
        services = [each.service for each in execs]
        self.witness.look([web.caller for web in webs], responders, services, self.service.limits)
        self.world.after(0.05, self.look)

    def calm(self) -> None:
        """No more of it. What was stopped goes on."""
        self.hostile = False
        self.world.tell("calm")
        self.service.real.renewal.begin = lambda: None  # or keys might be on the move when everything is looked at
        for process in self.world.processes:
            if process.stopped:
                self.resume(process)
        for end in list(self.enemy.sockets):
            if end in self.network.listeners.values():
                end.close()

    # -- on the network

    def record(self, data: bytes) -> None:
        if len(self.recorded) < RECORDED:
            self.recorded.append(data)
        else:
            self.recorded[self.rng.randrange(RECORDED)] = data

    def tamper(self, side: Side, data: bytes) -> list[bytes] | None:
        """What becomes of one write."""
        if not self.hostile or side.process is self.enemy or side.other.process is self.enemy:
            return None
        self.record(data)
        rng = self.rng
        if late := self.late.pop(side, b""):
            return [data, late]
        if rng.random() >= self.rate:
            at = rng.randrange(len(data))
            return [data[:at], data[at:]] if at and rng.random() < 0.05 else None
        what = rng.choice(list(self.tampering))
        self.world.tell("tamper", what, side.process.name, side.other.process.name, len(data))
        if what == "stall":
            side.not_before = self.world.now + rng.uniform(0, STALL)
            return None
        self.world.after(rng.uniform(0, 1.0), side.cut)
        return self.tampering[what](side, data)

    @cached_property
    def tampering(self) -> dict[str, Callable[[Side, bytes], list[bytes]]]:
        return {
            "stall": lambda _side, data: [data],
            "flip": self.flip,
            "insert": self.insert,
            "again": lambda _side, data: [data, data],
            "drop": lambda _side, _data: [],
            "half": lambda _side, data: [data[: self.rng.randrange(len(data))]],
            "later": self.later,
            "replay": lambda _side, data: [data, self.rng.choice(self.recorded)],
            "reflect": self.reflect,
            "cut": self.cut_now,
        }

    def flip(self, _side: Side, data: bytes) -> list[bytes]:
        at, bit = self.rng.randrange(len(data)), 1 << self.rng.randrange(8)
        return [data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]]

    def insert(self, _side: Side, data: bytes) -> list[bytes]:
        garbage = self.rng.randbytes(self.rng.randrange(1, 200))
        return self.rng.choice([[garbage, data], [data, PREFIX.pack(len(garbage)) + garbage]])

    def later(self, side: Side, data: bytes) -> list[bytes]:
        self.late[side] = data
        return []

    def reflect(self, side: Side, data: bytes) -> list[bytes]:
        side.other.slip_in(data)
        return [data]

    def cut_now(self, side: Side, _data: bytes) -> list[bytes]:
        side.cut()
        return []

    def cut(self) -> None:
        sides = [side for side in self.network.sides.values() if side.process is not self.enemy]
        if sides:
            self.rng.choice(sides).cut()

    def slip_in(self) -> None:
        """Bytes of its own into somebody's stream."""
        sides = [side for side in self.network.sides.values() if side.other.protocol and side.process is not self.enemy]
        if sides and self.recorded:
            side, data = self.rng.choice(sides), self.rng.choice([self.rng.randbytes(80), *self.recorded])
            self.world.tell("slip in", side.process.name, len(data))
            side.slip_in(data)
            self.world.after(self.rng.uniform(0, 1.0), side.cut)

    def intrude(self) -> None:
        """A connection of its own to an exec worker."""
        rng, ports = self.rng, self.ports()
        if not ports:
            return
        hellos = [data for data in self.recorded if data[:4] == PREFIX.pack(188)]
        pieces = rng.choice([
            [],
            [rng.randbytes(rng.randrange(1, 600))],
            [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
            [PREFIX.pack(2**32 - 1) + b"x"],
            [rng.choice(hellos)] if hellos else [],
            [rng.choice(hellos), *rng.sample(self.recorded, min(len(self.recorded), 6))] if hellos else [],
            rng.sample(self.recorded, min(len(self.recorded), 4)),
        ])  # fmt: skip
        self._dial(rng.choice(ports), pieces, closes=rng.random() < 0.5)

    def ports(self) -> list[int]:
        return [port for port, server in self.network.listeners.items() if server.process is not self.enemy]

    def crowd(self) -> None:
        """More connections than may be half open."""
        for port in self.ports()[:1]:
            for _ in range(140):
                self._dial(port, [], closes=False)

    def _dial(self, port: int, pieces: list[bytes], *, closes: bool) -> None:
        async def dial() -> None:
            with suppress(OSError):
                await self.network.connect(self.enemy, lambda: Wild(self, list(pieces), closes), port)

        self.enemy.spawn(dial())

    def squat(self) -> None:
        """Kill an exec worker and listen in its place, before anybody knows."""
        if ours := self.ports():
            port, closes = self.rng.choice(ours), self.rng.random() < 0.5
            pieces = self.rng.choice([[], self.rng.sample(self.recorded, min(3, len(self.recorded)))])
            self.network.listeners[port].process.exit("was killed and replaced")
            server = self.network.listen(self.enemy, lambda: Wild(self, list(pieces), closes), port)
            self.world.after(self.rng.uniform(0.2, 2.0), server.close)

    # -- at the switch

    def kill(self) -> None:
        processes = self.service.processes()
        if processes:
            self.rng.choice(processes).exit("was killed")

    def stop(self) -> None:
        processes = [each for each in (*self.service.processes(), self.service.supervisor) if not each.stopped]
        if processes:
            process = self.rng.choice(processes)
            self.world.tell("stop", process.name)
            process.stop()
            self.world.after(self.rng.choice([0.05, 0.5, STALL]), self.resume, process)

    def resume(self, process: Process) -> None:
        if process.stopped:
            self.world.tell("resume", process.name)
            self.witness.lenient[process.name] = process.now()
            process.go_on()

    def restart(self) -> None:
        """A rolling restart, as somebody asks for it."""
        if self.service.started:
            group = self.rng.choice([*GROUPS, "web", ""])
            self.service.supervise(self.service.orders.restart(group, lambda _line: None))

    def rotate(self) -> None:
        """New keys, as somebody asks for them."""
        self.service.supervise(self.service.orders.rotate_keys())

    def sleep(self) -> None:
        """The machine sleeps: everything that is on its way grows old at once."""
        for side in self.network.sides.values():
            side.not_before = self.world.now + 0.1
        self.world.after(0.08, self.fall_asleep, self.rng.choice([0.5, 3.0, 60.0]))

    def fall_asleep(self, seconds: float) -> None:
        self.world.suspended += seconds
        self.world.tell("sleep", seconds)
