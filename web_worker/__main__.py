"""One web worker: parent, app, server, then requests until it is told to drain. Decides nothing."""

from __future__ import annotations

import sys

from shunter import check_ownership


def main() -> None:
    """Run until drained; the exit code says how it went."""
    check_ownership()
    from ipc import collector  # noqa: PLC0415 - only once it is known to be ours
    from ipc.parent import Parent  # noqa: PLC0415 - as above

    collector.rest()
    parent, given, termination = Parent.enter(sys.argv[1:])
    from web_worker.process import run  # noqa: PLC0415 - hardened first, everything else after

    sys.exit(run(parent, given, termination))


if __name__ == "__main__":
    main()
