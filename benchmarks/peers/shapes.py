"""What systems that speak through FastAPI are asked, and answer."""

from pydantic import BaseModel


class Ask(BaseModel):
    """A request."""

    kind: str
    ticket: str
    seconds: float


class Answer(BaseModel):
    """Who did it, and how long it took."""

    pid: int
    took: float
