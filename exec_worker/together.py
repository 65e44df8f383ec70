"""What a node that takes a list says of each item: what is wrong with one of them is no fault of the others. Pure."""

# ruff: noqa: ANN401 - items and results are of whatever types the node declares

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exec_worker.codec import name_of
from exec_worker.interrupts import Interrupted
from ipc.errors import BadResult, InvalidRequest, NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_together(
    name: str,
    run: Callable[[list[Any]], Any],
    items: Sequence[Any],
    alone: Callable[[int, BaseException], Callable[[list[Any]], Any] | None],
) -> list[Any]:
    """A result for each item, or the exception that is its answer, in their order.

    When the node raises, nobody knows about which of them. `alone` is asked then, with the place of each: what runs
    that one once more by itself, or None if it has failed with the others. What interrupts a call comes through, for
    all of them.
    """
    try:
        return _one_each(name, run(list(items)), len(items))
    except Interrupted:
        raise
    except BaseException as error:  # noqa: BLE001 - it is the node's, and SystemExit of one item ends no other
        if len(items) == 1:
            return [error]
        raised = _about_all(name, error, len(items))
    told: list[Any] = []
    for place, item in enumerate(items):
        again = alone(place, raised)
        told += [raised] if again is None else run_together(name, again, [item], alone)
    return told


def _one_each(name: str, returned: Any, size: int) -> list[Any]:
    if not isinstance(returned, list | tuple):
        wrong = f"{name} returned {name_of(type(returned))} for a batch, not a list"
    elif len(returned) != size:
        wrong = f"{name} returned {len(returned)} results for a batch of {size}"
    else:
        return list(returned)
    return [BadResult(wrong)] * size


def _about_all(name: str, error: BaseException, size: int) -> BaseException:
    """A request is not invalid because it was run together with one that is."""
    if not issubclass(type(error), InvalidRequest):
        return error
    told = NodeError(
        f"{name} raised InvalidRequest for a batch of {size}; return it in the place of the item it is about"
    )
    told.__cause__ = error
    return told
