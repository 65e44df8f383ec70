"""What a forked child must not have: the keys of its parent, in whose name it could speak."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Holder(Protocol):
    """Whoever keeps a key, or something made of one."""

    def wipe(self) -> None:
        """Keep none any more; what needs one fails from now on. Called in the child, where no other thread runs."""
        ...


_holders: WeakSet[Holder] = WeakSet()


def wiped_at_fork(holder: Holder) -> None:
    """Have `holder` wiped in every child that this process forks, for as long as there is a holder."""
    _holders.add(holder)


def _wipe() -> None:
    for holder in list(_holders):
        holder.wipe()


# Asking for the pid before each frame would find a child too, at the price of a system call a frame. Programs that
# are started keep no memory of ours, and what forks without telling the interpreter is native code: that can read
# any memory of the worker it runs in, forked or not.
os.register_at_fork(after_in_child=_wipe)
