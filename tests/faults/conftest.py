"""Stand-ins and their stage, and whole services, for tests that hurt them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path += [str(Path(__file__).parents[1] / s / "programs") for s in ("faults", "supervisor", "e2e", "attacks")]

from scene import Scene
from stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The loop of Python itself: another would wait for ever for what a failed test has left open."""
    return "asyncio"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Scene]]:
    """Starts a service of one's own."""
    started: list[Scene] = []

    def one(*settings: str, **options: Any) -> Scene:
        path = tmp_path / str(len(started))
        path.mkdir()
        started.append(Scene(path, *settings, **options))
        return started[-1]

    yield one
    for scene in started:
        await scene.hang_up()
        scene.end()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One service for all tests of a module, each of which leaves it whole. Modules say its SETTINGS and WORKERS."""
    settings, workers = getattr(request.module, "SETTINGS", ()), getattr(request.module, "WORKERS", 2)
    made = Scene(tmp_path_factory.mktemp("scene"), *settings, workers=workers)
    yield made
    made.end()


@pytest.fixture
async def scene(shared: Scene) -> AsyncIterator[Scene]:
    """The same, whole, and free of what the test leaves open."""
    await shared.until_full()
    yield shared
    await shared.hang_up()
