"""Only has to type-check: a hand-off has the types of the node it calls."""

from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from fastapi import FastAPI

from exec_worker import Batch, InvalidRequest, node
from web_worker import Handoff, HandoffCaller


@dataclass
class Ask:
    text: str


@dataclass
class Report:
    words: int


@node
def render(asked: Ask) -> Report:
    return Report(len(asked.text))


@node(stage="heavy")
def shrink(image: bytes, width: int = 256, *, height: int = 256) -> Annotated[bytes, "image/webp"]:
    return image[: width * height]


@node(batch=Batch(max_size=8))
def embed(texts: list[str]) -> list[float]:
    return [float(len(text)) for text in texts]


@node(stage="heavy", idempotent=True, batch=Batch(max_size=8, max_wait_ms=2))
def parse(texts: list[str]) -> list[int | InvalidRequest]:
    return [int(text) if text.isdigit() else InvalidRequest("no number") for text in texts]


@node
def wait(timeout: float) -> None:
    del timeout


def plain(a: int, b: int, c: int, d: str) -> list[str]:
    return [d] * (a + b + c)


app = FastAPI()


@app.post("/report")
async def report(body: Ask, handoff: Handoff) -> Report:
    assert_type(handoff, HandoffCaller)
    return await handoff(render, body, timeout=5)


async def right(handoff: HandoffCaller) -> None:
    assert_type(await handoff(render, Ask("x")), Report)
    assert_type(await handoff(render, asked=Ask("x")), Report)
    assert_type(await handoff(render, Ask("x"), timeout=5), Report)
    assert_type(await handoff(shrink, b"x"), bytes)
    assert_type(await handoff(shrink, b"x", 3, height=4), bytes)
    assert_type(await handoff.within(5)(shrink, b"x", height=4), bytes)
    assert_type(await handoff(plain, 1, 2, 3, "x"), list[str])
    assert_type(await handoff(plain, 1, 2, 3, "x", timeout=5), list[str])
    assert_type(await handoff("shop.render", asked=Ask("x"), timeout=5), Any)
    assert_type(await handoff(embed, ["x", "y"], timeout=5), list[float])
    assert_type(await handoff(parse, ["1"]), list[int | InvalidRequest])
    await handoff.within(5)(wait, timeout=3)
    await handoff(wait, 3, timeout=5)


async def wrong(handoff: HandoffCaller) -> None:
    await handoff(render, "x")  # type: ignore[call-overload]
    await handoff(render)  # type: ignore[call-overload]
    await handoff(render, Ask("x"), 3)  # type: ignore[call-overload]
    await handoff(render, asker=Ask("x"))  # type: ignore[call-overload]
    await handoff(render, Ask("x"), timeout="soon")  # type: ignore[call-arg]
    await handoff(shrink, b"x", height="tall")  # type: ignore[arg-type]
    await handoff("shop.render", Ask("x"))  # type: ignore[call-overload]
    await handoff(3)  # type: ignore[call-overload]
    await handoff(embed, "x")  # type: ignore[call-overload]
    handoff.within("soon")  # type: ignore[arg-type]
