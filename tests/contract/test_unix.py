"""What only the carrier over Unix sockets promises: whose the ends are, and where their names lie."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING

import anyio
import pytest

from ipc.sockname import Credentials, credentials, fitting
from ipc.stats import refusals
from ipc.transport import unix
from ipc.wire.frame import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ipc.transport.base import Carrier

FRAME = b"\0\0\0\5hello"


class Owner:
    def __init__(self) -> None:
        self.story: list[str] = []
        self.carrier: Carrier | None = None

    def opened(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.story.append("opened")

    def received(self, frame: bytes | bytearray) -> None:
        self.story.append(bytes(frame).decode())

    def closed(self) -> None:
        self.story.append("closed")


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - nobody else tells
            await asyncio.sleep(0.001)


@asynccontextmanager
async def listener(path: Path) -> AsyncIterator[list[Owner]]:
    owners: list[Owner] = []

    def new_end() -> tuple[Owner, Lock]:
        owners.append(Owner())
        return owners[-1], Lock()

    server = await unix.listen(str(path), new_end, 1000)
    yield owners
    server.close()


async def speak(path: Path, owners: list[Owner]) -> None:
    near = Owner()
    await unix.dial(f"unix://{path}", near, 1000)
    near.carrier.write(FRAME)
    await until(lambda: "hello" in owners[-1].story)
    near.carrier.close()
    await until(lambda: owners[-1].story[-1] == near.story[-1] == "closed")


async def test_a_stranger_is_refused_before_anybody_hears_of_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At both ends: whoever connects may be one, and whoever listens."""
    before = refusals[Refusal.USER]
    async with listener(tmp_path / "s") as owners:
        monkeypatch.setattr(unix, "credentials", lambda _sock: Credentials(1, os.geteuid() + 1, 0))
        near = Owner()
        with pytest.raises(PermissionError, match="another user"):
            await unix.dial(f"unix://{tmp_path}/s", near, 1000)
        await until(lambda: owners and owners[0].story)
        assert (near.story, owners[0].story) == ([], ["closed"])
        assert refusals[Refusal.USER] == before + 2


async def test_somebody_who_is_another_user_is_refused(tmp_path: Path) -> None:
    """A real one: root becomes nobody. Others cannot, and are told by the kernel who they are all the same."""
    path = tmp_path / "s"
    async with listener(path) as owners:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(path))
            assert credentials(stranger)[:2] == (os.getpid(), os.geteuid())
            await until(lambda: owners)
        await until(lambda: owners[0].story == ["opened", "closed"])
        if os.geteuid() != 0:
            return
        os.seteuid(65534)  # what the kernel notes of whoever connects is the effective user
        try:
            fd = socket.socket(socket.AF_UNIX)
            with fd, pytest.raises(PermissionError):
                fd.connect(str(path))
        finally:
            os.seteuid(0)


async def test_the_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    async with listener(tmp_path / "s"):
        found = (tmp_path / "s").lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600


async def test_a_name_that_is_too_long_for_an_address_is_none_too_long(tmp_path: Path) -> None:
    directory = tmp_path / ("a" * 100) / ("b" * 200)
    directory.mkdir(parents=True)
    async with listener(directory / "cpu_sync-0.sock") as owners:
        await speak(directory / "cpu_sync-0.sock", owners)


async def test_a_socket_that_a_dead_worker_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionRefusedError):
        await unix.dial(f"unix://{path}", Owner(), 1000)
    async with listener(path) as owners:
        await speak(path, owners)


async def test_nothing_but_a_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await unix.listen(str(path), lambda: (Owner(), Lock()), 1000)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["", "\0anybody", "relative", "/tmp/x\0y"])  # noqa: S108 - none is made
async def test_a_socket_without_a_file_is_never_made_or_dialled(name: str) -> None:
    """Such a name belongs to whoever takes it first, whichever user that is."""
    with pytest.raises(OSError, match="absolute path"), fitting(name):
        pass
    with pytest.raises(OSError, match="absolute path"):
        await unix.dial(f"unix://{name}", Owner(), 1000)
    with pytest.raises(OSError, match="absolute path"):
        await unix.listen(name, lambda: (Owner(), Lock()), 1000)


async def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await unix.dial(f"unix://{tmp_path}/s", Owner(), 1000)
