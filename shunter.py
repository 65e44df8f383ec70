"""Where every process of Shunter begins: it imports nothing of Shunter before it knows that it is Shunter's.

The packages have plain names (`supervisor`, `cli`, ...), and other distributions use them too. Whoever stands
earlier on the path wins without a word, so each entry point calls `check_ownership()` first. Standard library
only; a normal start pays well under two milliseconds for the check.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

VERSION = "0.1.0"
PACKAGES = ("supervisor", "ipc", "cli", "web_worker", "exec_worker")
HERE = Path(__file__).resolve().parent
REINSTALL = "pip install --force-reinstall shunter"


def main() -> int:
    """Run the `shunter` command; its exit code is 0 done, 1 failed, 2 wrong usage, 3 not running."""
    if sys.argv[1:2] == ["start"]:
        leave_when_told()
    check_ownership()
    from cli.main import run  # noqa: PLC0415 -- only now is it known to be ours

    return run()


def leave_when_told() -> None:
    """From now on SIGTERM and SIGINT end this process with exit code 0, also where it is PID 1.

    For as long as it does nothing but import: nothing runs yet that would have to be ended.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda _signal, _frame: os._exit(0))


def check_ownership() -> None:
    """Leave with exit code 2 and one sentence if a package that Shunter would import is somebody else's."""
    if (fault := foreign(HERE)) is not None:
        sys.stderr.write(f"error: {fault}\n")
        raise SystemExit(2)


def foreign(home: Path) -> str | None:
    """What stands where a package of ours should, and what to do about it; None if all lie in `home`."""
    for name in PACKAGES:
        found = _location(name)
        if found is None or found == home / name:  # a folder without `__init__.py` has no other origin
            return f"the package '{name}' is not there, or not whole; install Shunter again: {REINSTALL}"
        if found != (ours := home / name / "__init__.py") and found.resolve() != ours:
            return _explain(name, found)
    if (off := _unlike_the_record(home)) is None:
        return None
    if owners := _other_owners(off.relative_to(home).parts[0]):
        return _advise_removal(off, owners)
    if not off.exists():
        return f"{off} is missing; install Shunter again: {REINSTALL}"
    return None  # edited by hand, and whoever did that knows


def _location(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # put into sys.modules by something that is no importer
        return Path(f"<{name}, made in memory>")
    if spec is None:
        return None
    return Path(spec.origin or next(iter(spec.submodule_search_locations or ()), f"<{name}>"))


def _explain(name: str, found: Path) -> str:
    if owners := _other_owners(name):
        return _advise_removal(found, owners)
    return (
        f"'{name}' would be imported from {found}, which is not Shunter's; start from another directory, "
        "or take that one off the Python path (PYTHONPATH)"
    )


def _advise_removal(found: Path, owners: str) -> str:
    return (
        f"{found} belongs to {owners}, which cannot share an environment with Shunter; "
        f"install Shunter in one of its own, or run: pip uninstall {owners}; {REINSTALL}"
    )


def _other_owners(name: str) -> str:
    """The distributions that install `name` beside ours. Reads all metadata: only when something is off."""
    from importlib.metadata import packages_distributions  # noqa: PLC0415 -- slow, and hardly ever needed

    return " ".join(sorted(set(packages_distributions().get(name, ())) - {"shunter"}))


def _unlike_the_record(home: Path) -> Path | None:
    """The first file in our packages that the wheel did not bring, or brought with another size.

    None without a record: an editable install keeps it elsewhere, and there the packages' place says enough.
    """
    record = next(home.glob("shunter-*.dist-info/RECORD"), None)
    if record is None:
        return None
    known = {f"{name}/__pycache__" for name in PACKAGES}
    for line in record.read_text(encoding="utf-8").splitlines():
        name, _, size = line.rsplit(",", 2)
        top, _, rest = name.partition("/")
        if top in PACKAGES and size:
            known.add(f"{top}/{rest.partition('/')[0]}")
            if _size(f"{home}/{name}") != int(size):
                return home / name
    present = (f"{name}/{entry}" for name in PACKAGES for entry in os.listdir(f"{home}/{name}"))  # noqa: PTH208
    return next((home / entry for entry in present if entry not in known), None)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 -- a hundred files, and a Path costs more than the question
    except OSError:
        return -1


if __name__ == "__main__":
    sys.exit(main())
