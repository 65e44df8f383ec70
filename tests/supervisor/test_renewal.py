"""Key rotation among real processes: stand-ins that are quick, busy, or die at the worst moment."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from stage import groups

from ipc.control import ask
from ipc.messages.control import Done, Refused, RotateKeys
from ipc.messages.settings import Limits
from supervisor import events, renewal

if TYPE_CHECKING:
    from stage import Stage


async def rotate(stage: Stage) -> Any:
    return await anyio.to_thread.run_sync(ask, stage.state_dir, RotateKeys())


def keys_of(stage: Stage, name: str) -> list[str]:
    return [note["key"] for note in stage.notes(name=name) if note["said"] in ("bootstrap", "install")]


def test_everybody_gets_new_keys_and_forgets_the_old_ones(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=2))) as live:
            await live.sees(events.Serving)
            for epoch in (2, 3):
                assert await rotate(stage) == Done(
                    f"every worker has the keys of epoch {epoch}, and nobody those before"
                )
                assert (await live.sees(events.KeysRotated, epoch - 1)).epoch == epoch
                await live.until(lambda epoch=epoch: len(stage.notes(said="retire", epoch=epoch)) == 2)
            keys = [*keys_of(stage, "cpu-0#1"), *keys_of(stage, "cpu-1#1")]
            assert len(set(keys)) == 6

    anyio.run(story)


def test_who_starts_later_has_only_the_newest_keys(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1))) as live:
            await live.sees(events.Serving)
            await rotate(stage)
            (pid,) = {note["pid"] for note in stage.notes(name="cpu-0#1")}
            os.kill(pid, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            assert stage.notes(name="cpu-0#2", said="bootstrap")[0]["epoch"] == 2
            with anyio.fail_after(30):  # of the forty that an order waits; nobody waits for the one that is gone
                assert isinstance(await rotate(stage), Done)

    anyio.run(story)


@pytest.mark.parametrize("who", ["cpu-0", "web-0", "cpu", "web"])
def test_a_worker_that_dies_on_the_way_keeps_nobody_waiting(stage: Stage, who: str) -> None:
    stage.behave(who, "dies at new keys")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=2))) as live:
            await live.sees(events.Serving)
            assert isinstance(await rotate(stage), Done)
            stage.behave(who, "good")
            dead = live.seen(events.WorkerExited)
            assert dead
            assert all(exited.worker.startswith(who) for exited in dead)
            await live.until(lambda: len(live.seen(events.WorkerReady)) == 4 + len(dead))
            assert isinstance(await rotate(stage), Done)

    anyio.run(story)


def test_a_busy_worker_takes_new_keys_later_and_keeps_the_old_ones_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "PATIENCE", 0.5)
    stage.behave("cpu-1", "busy")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=1), limits=Limits(ttl=0.2))) as live:
            await live.sees(events.Serving)
            for epoch in (2, 3):  # the second rotation is no worse off for the first
                follows = f"epoch {epoch} follows by itself"
                told = f"cpu-1#1 still has keys before that, for somebody is busy; {follows}"
                assert await rotate(stage) == Refused(told)
                await live.until(lambda epoch=epoch: stage.notes(name="cpu-0#1", said="retire", epoch=epoch))
            assert [note["epoch"] for note in stage.notes(name="cpu-1#1", said="install")] == [2]
            assert {note["name"] for note in stage.notes(said="retire")} == {"cpu-0#1"}
            assert not live.seen(events.KeysRotated)

    anyio.run(story)


def test_a_web_worker_that_does_not_move_is_not_waited_for_longer_than_its_frames_are_good(stage: Stage) -> None:
    stage.behave("web", "stays")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1), limits=Limits(ttl=0.3))) as live:
            await live.sees(events.Serving)
            assert isinstance(await rotate(stage), Done)
            await live.until(lambda: stage.notes(said="retire", epoch=2))

    anyio.run(story)


def test_by_the_clock(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1), rotate_every=0.2)) as live:
            assert (await live.sees(events.KeysRotated, 3)).epoch == 4

    anyio.run(story)


def test_without_workers_that_have_keys_there_is_nothing_to_rotate(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=0, web=1))) as live:
            await live.sees(events.Serving)
            assert isinstance(await rotate(stage), Refused)

    anyio.run(story)
