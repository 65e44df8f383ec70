"""A user's own FastAPI app whose route hands the same work off."""

import msgspec
from bench import Ask, echo
from fastapi import FastAPI
from pydantic import BaseModel

from web_worker import Handoff

app = FastAPI()


class AskModel(BaseModel):
    """What a FastAPI user would declare."""

    n: int
    text: str


@app.post("/handoff")
async def handed_off(body: AskModel, handoff: Handoff) -> AskModel:
    """The same work in another process."""
    got = await handoff(echo, Ask(body.n, body.text), timeout=5)
    return AskModel(**msgspec.structs.asdict(got))
