"""New keys in every order of events there is: nobody is ever called under a key it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipc.messages.lifeline import Install as InstallMessage
from ipc.names import WorkerName
from supervisor.rotation import Announce, Install, Over, Retire, Rotation

if TYPE_CHECKING:
    from supervisor.rotation import Action

PATIENCE = 30.0


class Server:
    """An exec worker: which epochs' links it lets begin, and what it has been told but not yet read."""

    def __init__(self, epoch: int) -> None:
        self.accepts = {epoch}
        self.inbox: list[tuple[str, int]] = []


class Client:
    """A web worker: under which epoch it was told to call each server, and the epochs of the links it has."""

    def __init__(self) -> None:
        self.told: dict[WorkerName, int] = {}
        self.links: dict[WorkerName, set[int]] = {}


class World(RuleBasedStateMachine):
    """A supervisor, and workers that read, answer, dawdle and die when hypothesis says so."""

    @initialize(servers=st.integers(0, 3), clients=st.integers(0, 3))
    def start(self, servers: int, clients: int) -> None:
        self.now, self.epoch, self.lives = 0.0, 1, 0
        self.rotation = Rotation(1, PATIENCE)
        self.servers: dict[WorkerName, Server] = {}
        self.clients: dict[WorkerName, Client] = {}
        self.said: list[tuple[str, WorkerName, WorkerName, int]] = []
        self.over = 0
        for _ in range(servers):
            self.server_is_born()
        for _ in range(clients):
            self.client_is_born()

    @rule()
    def server_is_born(self) -> None:
        self.lives += 1
        name = WorkerName("cpu", 0, self.lives)
        self.rotation.born(name)
        self.servers[name] = Server(self.epoch)
        self.announce()

    @rule()
    def client_is_born(self) -> None:
        self.lives += 1
        name = WorkerName("web", 0, self.lives)
        self.clients[name] = Client()
        self.announce()

    @rule()
    def rotate(self) -> None:
        self.epoch += 1
        self.over = 0
        self.act(self.rotation.begin(self.epoch))
        assert bool(self.rotation.left) == bool(self.servers)

    @rule(data=st.data())
    def a_server_reads(self, data: st.DataObject) -> None:
        if waiting := [name for name, server in self.servers.items() if server.inbox]:
            name = data.draw(st.sampled_from(waiting))
            kind, epoch = self.servers[name].inbox.pop(0)
            if kind == "install":
                self.servers[name].accepts.add(epoch)
                self.said.append(("installed", name, name, epoch))
            else:
                self.servers[name].accepts = {each for each in self.servers[name].accepts if each >= epoch}

    @rule(data=st.data())
    def a_client_dials(self, data: st.DataObject) -> None:
        if known := [(c, s) for c, client in self.clients.items() for s in client.told if s in self.servers]:
            client_name, server_name = data.draw(st.sampled_from(known))
            client, epoch = self.clients[client_name], self.clients[client_name].told[server_name]
            assert epoch in self.servers[server_name].accepts, "an honest worker was refused"
            client.links.setdefault(server_name, set()).add(epoch)
            if client.links[server_name] == {epoch}:
                self.said.append(("moved", client_name, server_name, epoch))

    @rule(data=st.data())
    def an_old_link_ends(self, data: st.DataObject) -> None:
        olds = [
            (c, s, epoch)
            for c, client in self.clients.items()
            for s, epochs in client.links.items()
            for epoch in sorted(epochs)
            if epoch != client.told.get(s) and client.told.get(s) in epochs
        ]
        if olds:
            client_name, server_name, epoch = data.draw(st.sampled_from(olds))
            links = self.clients[client_name].links[server_name]
            links.discard(epoch)
            if links == {self.clients[client_name].told[server_name]}:
                self.said.append(("moved", client_name, server_name, *links))

    @rule(data=st.data())
    def the_supervisor_hears(self, data: st.DataObject) -> None:
        if self.said:
            # Each worker's words keep their order, those of several do not.
            speakers = sorted({who for _, who, _, _ in self.said}, key=str)
            who = data.draw(st.sampled_from(speakers))
            word = next(word for word in self.said if word[1] == who)
            self.said.remove(word)
            kind, _, server, epoch = word
            if kind == "installed":
                self.act(self.rotation.installed(server, epoch, list(self.clients), self.now))
            else:
                self.act(self.rotation.moved(server, who, epoch))

    @rule(data=st.data())
    def somebody_dies(self, data: st.DataObject) -> None:
        if everybody := [*self.servers, *self.clients]:
            name = data.draw(st.sampled_from(everybody))
            self.servers.pop(name, None)
            self.clients.pop(name, None)
            self.said = [word for word in self.said if word[1] != name]
            self.look()

    @rule(seconds=st.sampled_from([1.0, PATIENCE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if seconds > PATIENCE:  # on what is left of old links nothing begins any more: it does not count
            for client in self.clients.values():
                for server, epochs in client.links.items():
                    client.links[server] = {epoch for epoch in epochs if epoch == client.told.get(server)}
        self.look()

    @invariant()
    def nobody_has_more_than_two_keys(self) -> None:
        assert all(1 <= len(server.accepts) <= 2 for server in self.servers.values())

    @invariant()
    def it_is_over_once_and_only_when_nobody_is_left(self) -> None:
        assert self.over <= 1
        assert not (self.over and self.rotation.left)

    def teardown(self) -> None:  # noqa: C901 - it plays everybody to the end
        """Whatever happened: when everybody has read and dialled, there is one epoch."""
        for kind, who, server_name, epoch in self.said:
            if kind == "installed":
                self.act(self.rotation.installed(server_name, epoch, list(self.clients), self.now))
            else:
                self.act(self.rotation.moved(server_name, who, epoch))
        for _ in range(6):
            for name, server in self.servers.items():
                while server.inbox:
                    kind, epoch = server.inbox.pop(0)
                    server.accepts = server.accepts | {epoch} if kind == "install" else {epoch}
                    if kind == "install":
                        self.act(self.rotation.installed(name, epoch, list(self.clients), self.now))
                        assert len(server.accepts) <= 2
            for client_name, client in self.clients.items():
                for server_name, epoch in list(client.told.items()):
                    client.links[server_name] = {epoch}
                    self.act(self.rotation.moved(server_name, client_name, epoch))
        self.now += PATIENCE + 1
        self.look()
        for server in self.servers.values():
            server.inbox = [word for word in server.inbox if word[0] == "retire"]
            for _, epoch in server.inbox:
                server.accepts = {each for each in server.accepts if each >= epoch}
        assert not self.rotation.left
        assert all(server.accepts == {self.epoch} for server in self.servers.values())

    def look(self) -> None:
        self.act(self.rotation.seen(list(self.servers), list(self.clients), self.now))

    def announce(self) -> None:
        for client in self.clients.values():
            client.told = {name: self.rotation.epoch_of(name) for name in self.servers}

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Install(server, epoch) if server in self.servers:
                    self.servers[server].inbox.append(("install", epoch))
                case Announce():
                    self.announce()
                case Retire(server, epoch) if server in self.servers:
                    self.servers[server].inbox.append(("retire", epoch))
                    for client in self.clients.values():
                        assert min(client.links.get(server) or {epoch}) >= epoch, "a key was retired that is in use"
                case Over():
                    self.over += 1


World.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRotation = World.TestCase


def test_a_key_does_not_show() -> None:
    assert repr(InstallMessage(2, b"k" * 32)) == "Install(epoch=2)"


def test_a_busy_worker_keeps_nobody_waiting() -> None:
    rotation = Rotation(1, PATIENCE)
    quick, busy, web = WorkerName("cpu", 0, 1), WorkerName("cpu", 1, 1), WorkerName("web", 0, 1)
    for server in (quick, busy):
        rotation.born(server)
    assert rotation.begin(2) == [Install(quick, 2), Install(busy, 2)]
    assert rotation.installed(quick, 2, [web], 0.0) == [Announce()]
    assert (rotation.epoch_of(quick), rotation.epoch_of(busy)) == (2, 1)
    assert rotation.moved(quick, web, 2) == [Retire(quick, 2)]
    assert rotation.left == (busy,)
    # Nor does it keep the next rotation waiting, to which it comes in its turn.
    assert rotation.begin(3) == [Install(quick, 3)]
    assert rotation.installed(quick, 3, [], 1.0) == [Announce(), Retire(quick, 3)]
    assert (rotation.left, rotation.epochs) == ((busy,), {1, 2, 3})
    assert rotation.installed(busy, 2, [], 1.0) == [Announce(), Retire(busy, 2), Install(busy, 3)]
    assert rotation.installed(busy, 3, [], 1.0) == [Announce(), Retire(busy, 3), Over()]
    assert rotation.epochs == {3}


def test_what_is_said_of_another_epoch_changes_nothing() -> None:
    rotation = Rotation(1, PATIENCE)
    server, web = WorkerName("cpu", 0, 1), WorkerName("web", 0, 1)
    rotation.born(server)
    rotation.begin(2)
    assert rotation.installed(server, 1, [web], 0.0) == []
    assert rotation.installed(server, 3, [web], 0.0) == []
    assert rotation.installed(WorkerName("cpu", 0, 9), 2, [web], 0.0) == []
    rotation.installed(server, 2, [web], 0.0)
    assert rotation.moved(server, web, 1) == []
    assert rotation.installed(server, 2, [], 0.0) == []
    assert rotation.left == (server,)
