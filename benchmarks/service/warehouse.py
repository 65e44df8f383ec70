"""An application that takes memory and time to import: a price list of Python objects."""

from __future__ import annotations

from typing import NamedTuple

from exec_worker import node


class Article(NamedTuple):
    """What there is of one thing."""

    name: str
    price: float
    stock: int


ARTICLES = {f"article-{n}": Article(f"Article number {n}", n / 100, n % 50) for n in range(150_000)}


@node(stage="core")
def find(n: int = 0) -> int:
    """Look at some of them, and make some garbage."""
    found = [ARTICLES[f"article-{(n * 7919 + step) % len(ARTICLES)}"] for step in range(200)]
    return sum(article.stock for article in found)
