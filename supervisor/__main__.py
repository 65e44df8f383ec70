"""`python -m supervisor shunter.yaml`: the service alone, for a process manager that keeps its standard error."""

from __future__ import annotations

import sys

from shunter import VERSION, check_ownership, leave_when_told


def main() -> int:
    """Run until told to stop; the exit code is 0, or 2 if it could not be started."""
    leave_when_told()
    check_ownership()
    import asyncio  # noqa: PLC0415 -- nothing is imported before it is known to be ours; so with the others
    import os  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from ipc.hardening import seal  # noqa: PLC0415
    from supervisor.early import Early  # noqa: PLC0415
    from supervisor.errors import EXIT_CODE, StartError  # noqa: PLC0415
    from supervisor.events import Event, LineWritten  # noqa: PLC0415
    from supervisor.planning import load_plan  # noqa: PLC0415
    from supervisor.run import run  # noqa: PLC0415

    def tell(event: Event) -> None:
        if not isinstance(event, LineWritten):  # these are in the log files
            sys.stderr.write(f"{event}\n")

    seal()  # it will hold the root of all keys
    early = Early()
    try:
        with early.interrupting():
            plan = load_plan(Path(sys.argv[1]) if sys.argv[1:] else None, (), os.environ, None)
        asyncio.run(run(plan, on_event=tell, version=VERSION, early=early))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
