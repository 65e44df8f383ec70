"""What an application's code consists of, as far as a running service wants to know whether it has changed."""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import islice
from pathlib import Path

from ipc.contract import Describe, Module

MAX_MODULES = 10_000
"""More are not looked at."""
MAX_FILE = 64 * 1024 * 1024
"""Of a longer one (an extension with a model in it, say) only the beginning is read, bytes."""
_OURS = frozenset({"cli", "exec_worker", "ipc", "shunter", "supervisor", "web_worker"})
_HERE = Path(__file__).parent.parent
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


def modules_of(request: Describe) -> tuple[Module, ...]:
    """Every module that the application has imported or may import later on; which ones each needs only if asked.

    That is what was imported from anywhere but Python's own directories, all of the packages that the configuration
    names, and what lies beside them.
    """
    files: dict[str, Path] = {}
    for name, path in islice(_files(request), MAX_MODULES):
        files.setdefault(name, path)
    return tuple(_module(name, path, files, ask=request.needs) for name, path in sorted(files.items()))


def _files(request: Describe) -> Iterator[tuple[str, Path]]:
    named = {name.partition(":")[0].partition(".")[0] for name in (request.app, *request.packages, *request.nodes)}
    packages: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if not isinstance(origin, str) or not origin.endswith(_SUFFIXES) or name == "__main__":
            continue
        path, top = Path(origin), name.partition(".")[0]
        if top not in named and (origin.startswith(_INSTALLED) or "site-packages" in origin or _is_ours(top, path)):
            continue
        yield name, path
        if path.name == "__init__.py":
            packages[name] = path.parent
    # What is imported when a function runs has not been yet.
    for name, directory in packages.items():
        yield from _inside(directory, f"{name}.")
    for directory in map(Path, request.sys_path):
        yield from _inside(directory, "")


def _is_ours(top: str, path: Path) -> bool:
    return top in _OURS and path.is_relative_to(_HERE)


def _inside(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    try:
        for path in sorted(directory.iterdir()):
            stem, dot, suffix = path.name.partition(".")
            if dot + suffix in _SUFFIXES and stem.isidentifier() and stem != "__init__":
                yield prefix + stem, path
            elif prefix and not dot and (path / "__init__.py").is_file():
                yield prefix + stem, path / "__init__.py"
                yield from _inside(path, f"{prefix}{stem}.")
    except OSError:
        return


def _module(name: str, path: Path, known: dict[str, Path], *, ask: bool) -> Module:
    data, stamp = b"", (0, 0)
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())  # before it is read: what is written meanwhile has another stamp
            data, stamp = file.read(MAX_FILE), (stat.st_ino, stat.st_ctime_ns)
    except OSError:
        pass
    needs: Iterable[str] = ()
    if ask and path.suffix == ".py":
        needs = _needs(name, data, is_package=path.name == "__init__.py")
    found = tuple(sorted({part for need in needs for part in _known(need, known)} - {name}))
    return Module(name, str(path), blake2b(data, digest_size=16).digest(), found, stamp)


def _needs(name: str, source: bytes, *, is_package: bool) -> Iterator[str]:
    """The names that its import statements name, wherever they stand."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    package = name if is_package else name.rpartition(".")[0]
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            base = each.module or ""
            if each.level:
                outer = package.rsplit(".", each.level - 1)[0] if each.level > 1 else package
                base = f"{outer}.{base}".strip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in each.names)


def _known(need: str, known: dict[str, Path]) -> Iterator[str]:
    """The modules that are imported for a name: each package on the way to it, too."""
    parts = need.split(".")
    for length in range(1, len(parts) + 1):
        if (name := ".".join(parts[:length])) in known:
            yield name
