"""Sessions on a carrier that loses, doubles, bends and reorders what it carries, and keeps every frame for ever.

No such carrier exists yet; its sessions do. Two web and two exec workers that restart and get new keys, against one
seeded enemy who holds all that was ever said. A slow reference, which remembers everything, says what must become
of each frame.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from virtual import Violation

from ipc.messages.calls import Kind
from ipc.names import WorkerName
from ipc.wire.frame import HEADER, PREFIX, Refuse, Stale
from ipc.wire.handshake import Acceptor, Dialer
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Session, Terms
from ipc.wire.signing import Alg

STEPS = 300
TTL_MS = 5000
UNSURE_MS = 200
"""What a handshake on this carrier takes at most, and what clocks drift in a story, ms."""


class Sent(NamedTuple):
    """One frame as its sender made it."""

    receiver: Ear
    counter: int
    frame: bytes
    said: tuple[int, bytes, bytes]
    at: int


class Clock:
    """One worker's milliseconds."""

    def __init__(self, rng: random.Random) -> None:
        self._skew, self._rate = rng.randrange(10**9), 1 + rng.uniform(-2e-4, 2e-4)

    def at(self, ms: int) -> int:
        return self._skew + int(ms * self._rate)


class Ear:
    """The receiving half of one session's end, and the reference for it."""

    def __init__(self, session: Session, clock: Clock, size: int) -> None:
        self.session, self.clock, self.size = session, clock, size
        self.seen: set[int] = set()
        self.top = -1

    def wants(self, counter: int) -> bool:
        return counter not in self.seen and counter >= self.top - self.size

    def heard(self, counter: int) -> None:
        self.seen.add(counter)
        self.top = max(self.top, counter)


class Pair:
    """One web worker and one exec worker: both ends of the session they have now."""

    def __init__(self, story: Lossy, web: int, cpu: int) -> None:
        self.story = story
        self.names = [WorkerName("web", web, 0), WorkerName("cpu", cpu, 0)]
        self.ears: list[Ear] = []
        self.anew(0)
        self.anew(1)

    def anew(self, who: int) -> None:
        """One of the two is another life, or they just begin again: a new handshake, and a new session."""
        story, rng = self.story, self.story.rng
        self.names[who] = self.names[who]._replace(incarnation=self.names[who].incarnation + rng.choice([0, 1]))
        web, cpu = self.names
        size = rng.choice([64, 128, 1024])
        terms = Terms("redis", Alg.AES_256_GCM, story.epoch, 1 << 12, TTL_MS, size)
        secret = server_secret(root_for_epoch(bytes(range(32)), story.epoch), cpu)
        here, there = Clock(rng), Clock(rng)
        dialer = Dialer(web, cpu, leaf_key(secret, web), terms, rng.randbytes(32), here.at(story.now))
        acceptor = Acceptor(cpu, {story.epoch: secret}, terms, rng.randbytes(32))
        accept = acceptor.hello(dialer.hello(), there.at(story.now + rng.randrange(UNSURE_MS // 2)))
        story.now += rng.randrange(UNSURE_MS // 2, UNSURE_MS)
        finish, client = dialer.accept(accept, here.at(story.now))
        server = acceptor.finish(finish, there.at(story.now))
        self.ears = [Ear(client, here, size), Ear(server, there, size)]


class Lossy:
    """One story."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.now = 0
        self.epoch = 1
        self.air: list[Sent] = []
        self.accepted = self.refused = self.stale = 0
        self.pairs = [Pair(self, web, cpu) for web in range(2) for cpu in range(2)]

    def go(self) -> None:
        """Live it; Violation if a frame has another fate than it should."""
        weighted = [(self.say, 40), (self.deliver, 55), (self.old_one, 12), (self.bend, 12), (self.misdirect, 6),
                    (self.restart, 1), (self.rotate, 1), (self.wait, 3)]  # fmt: skip
        steps = [step for step, weight in weighted for _ in range(weight)]
        for _ in range(STEPS):
            self.rng.choice(steps)()

    # -- what the workers do

    def say(self) -> None:
        rng, pair = self.rng, self.rng.choice(self.pairs)
        who = rng.randrange(2)
        sender, receiver = pair.ears[who], pair.ears[1 - who]
        kind = (Kind.REQUEST, Kind.REPLY)[who]
        for _ in range(rng.choice([1, 1, 1, 1, 1, 1, 1, 3, 70])):
            said = int(kind), rng.randbytes(16), rng.randbytes(rng.choice([0, 5, 50]))
            frame = sender.session.seal(kind, sender.clock.at(self.now), said[1], b"m", said[2])[PREFIX.size :]
            self.air.append(Sent(receiver, HEADER.unpack_from(frame)[9], frame, said, self.now))

    def restart(self) -> None:
        self.rng.choice(self.pairs).anew(self.rng.randrange(2))

    def rotate(self) -> None:
        self.epoch += 1
        for pair in self.pairs:
            if self.rng.random() < 0.7:  # the others keep what they have for a while
                pair.anew(0)

    def wait(self) -> None:
        self.now += self.rng.choice([1, 50, 1000, TTL_MS])

    # -- what the carrier does

    def deliver(self) -> None:
        """One of the newest, perhaps for the second time."""
        if self.air:
            self.offer(self.air[-min(len(self.air), 1 + int(self.rng.expovariate(1 / 20)))])

    def old_one(self) -> None:
        if self.air:
            self.offer(self.rng.choice(self.air))

    def offer(self, sent: Sent) -> None:
        ear = sent.receiver
        if not any(ear in pair.ears for pair in self.pairs):  # that life is over: whoever is there now gets it
            ear = self.rng.choice(self.pairs).ears[self.rng.randrange(2)]
            self.refuses(ear, sent.frame, "a frame of another session")
            return
        age = self.now - sent.at
        if not ear.wants(sent.counter):
            self.refuses(ear, sent.frame, f"number {sent.counter}, which was there before or is too far behind")
            return
        try:
            opened = ear.session.open(sent.frame, ear.clock.at(self.now))
            too_old = False
        except Stale as stale:
            opened, too_old = stale.frame, True
        except Refuse as refused:
            self.fail(f"number {sent.counter} is new and genuine, and was refused: {refused.reason}")
        ear.heard(sent.counter)
        self.accepted += 1
        self.stale += too_old
        if (opened.kind, opened.call_id, bytes(opened.body)) != sent.said:
            self.fail("what was opened is not what was said")
        if too_old != (age > TTL_MS) and abs(age - TTL_MS) > UNSURE_MS:
            self.fail(f"after {age} ms a frame was {'' if too_old else 'not '}too old")

    def bend(self) -> None:
        """A genuine frame with other bytes; best of all one that would be the newest."""
        if not self.air:
            return
        rng, sent = self.rng, self.air[-min(len(self.air), 1 + int(self.rng.expovariate(1 / 5)))]
        frame = bytearray(sent.frame)
        what = rng.randrange(4)
        if what == 0:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        elif what == 1:
            frame[24:32] = (sent.counter + rng.choice([1, 63, 64, 1000, 2**40])).to_bytes(8, "big")
        elif what == 2:
            frame[-rng.randrange(1, 40) :] = rng.choice(self.air).frame[-rng.randrange(1, 40) :]
        else:
            frame = frame[: rng.randrange(len(frame))]
        if bytes(frame) != sent.frame:
            self.refuses(sent.receiver, bytes(frame), "a frame that was bent")

    def misdirect(self) -> None:
        """Back to its sender, or to somebody else."""
        if self.air:
            sent = self.rng.choice(self.air)
            others = [ear for pair in self.pairs for ear in pair.ears if ear is not sent.receiver]
            self.refuses(self.rng.choice(others), sent.frame, "a frame for somebody else")

    def refuses(self, ear: Ear, frame: bytes, what: str) -> None:
        try:
            ear.session.open(frame, ear.clock.at(self.now))
        except Stale:
            self.fail(f"accepted, late: {what}")
        except Refuse:
            self.refused += 1
        else:
            self.fail(f"accepted: {what}")

    def fail(self, what: str) -> None:
        raise Violation(f"seed {self.seed}: {what}")


def lossy(seed: int) -> Lossy:
    """Live one story to its end."""
    story = Lossy(seed)
    story.go()
    return story
