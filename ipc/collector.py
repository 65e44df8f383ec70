"""The garbage collector while a process begins: what is imported stays, and to look through it again and again is lost.

It costs a tenth of the time that imports take.
"""

from __future__ import annotations

import gc

SELDOM = 20_000
"""So many new objects at least between two collections: imports that do make garbage do not pile it up without end."""
_usual = gc.get_threshold()


def rest() -> None:
    """Collect seldom; to be called before anything large is imported."""
    gc.set_threshold(SELDOM, *_usual[1:])


def resume() -> None:
    """Leave what is there now alone for good, and from here on collect as often as ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_usual)
