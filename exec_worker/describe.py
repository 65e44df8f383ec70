"""The short-lived process that imports an application and says, as data, what is in it.

    python -P -m exec_worker.describe --fd 5 < request

It is the only one beside the exec workers that imports user code. Everything that is wrong with the
application becomes a `Fault`; the answer goes to a descriptor of its own, so that prints do not disturb it.
"""

import argparse
import contextlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any, cast

from exec_worker.components import Components
from exec_worker.hooks import registered
from exec_worker.loader import Found, LoadError, contract_at, discover, find, import_module, put_first
from exec_worker.reader import source_of
from exec_worker.sources import modules_of
from ipc import collector
from ipc.confinement import Confinement
from ipc.contract import Describe, Described, Fault, HookContract, NodeContract, decode_request, encode
from ipc.hardening import Unfit, harden, require_reach
from ipc.routes import told_of
from shunter import check_ownership


def describe(request: Describe) -> Described:
    """Import what is asked for and describe it; all that is wrong is in the answer."""
    put_first(request.sys_path)
    faults: list[Fault] = []
    components = Components()
    nodes: list[NodeContract] = []
    for found in _functions(request, faults):
        try:
            nodes.append(contract_at(found, components)[1])
        except LoadError as error:
            _add(faults, fault_of(error))
    routes = told_of(_app_at(request.app, faults)) if request.app else ()
    hooks = tuple(HookContract(hook.name, hook.module, hook.kind, hook.asynchronous) for hook in registered())
    return Described(tuple(nodes), components.schemas, tuple(faults), hooks, routes, modules_of(request))


def _functions(request: Describe, faults: list[Fault]) -> list[Found]:
    """The functions by their names as nodes: those that are decorated, then those that are only named."""
    functions: dict[str, Found] = {}
    for found in discover(request.packages, lambda error: _add(faults, fault_of(error))):
        if (other := functions.setdefault(found.name, found)) is not found:
            where = f"{source_of(other.function)} and {source_of(found.function)}"
            _add(faults, Fault(f"two nodes are named {found.name}: {where}; give one of them another name"))
    for name in request.nodes:
        if name in functions:
            continue
        try:
            functions[name] = find(name)
        except LoadError as error:
            _add(faults, fault_of(error))
    return list(functions.values())


def _app_at(path: str, faults: list[Fault]) -> object:
    """Import the user's app and see that a server could call it. FastAPI is loaded if the app does it. None: no app."""
    module_name, _, attribute = path.partition(":")
    if not attribute:
        _add(faults, Fault(f"app {path!r} is not of the form 'module:attribute', such as 'shop.main:app'"))
        return None
    try:
        app: Any = import_module(module_name)
        for part in attribute.split("."):
            app = getattr(app, part)
    except LoadError as error:
        _add(faults, fault_of(error))
    except AttributeError:
        _add(faults, Fault(f"app {path!r}: {module_name} has no {attribute!r}"))
    else:
        if _is_asgi(app):
            return cast("object", app)
        _add(faults, Fault(f"app {path!r} is a {type(app).__name__}, not an ASGI application such as FastAPI()"))
    return None


def _is_asgi(app: object) -> bool:
    if not callable(app) or isinstance(app, type):
        return False
    try:
        inspect.signature(app).bind(None, None, None)  # scope, receive, send
    except TypeError:
        return False
    except ValueError:  # written in C: it may be one
        return True
    return True


def fault_of(error: LoadError) -> Fault:
    """The error with the traceback of what caused it."""
    return Fault(str(error), error.traceback)


def _add(faults: list[Fault], fault: Fault) -> None:
    """One broken module is one fault, however many nodes are looked for in it."""
    if all(fault.what != other.what for other in faults):
        faults.append(fault)


def main() -> None:
    """Read the request from standard input, write the description to the descriptor, leave."""
    check_ownership()
    parser = argparse.ArgumentParser(prog="exec_worker.describe", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="where the description is written")
    parser.add_argument("--parent", type=int, default=0, help="the process without which this one is not to live on")
    parser.add_argument("--uid", type=int, help="the user to become, if another")
    parser.add_argument("--gid", type=int, help="the group that goes with it")
    given = parser.parse_args()
    descriptor = given.fd
    collector.rest()
    request = decode_request(sys.stdin.buffer.read())
    try:
        # Before any user code.
        harden(given.parent or os.getppid(), {descriptor}, Confinement(uid=given.uid, gid=given.gid))
        require_reach(map(Path, request.sys_path))
        answer = encode(describe(request))
    except Unfit as unfit:
        answer = encode(Described((), {}, (Fault(str(unfit)),)))
    with os.fdopen(descriptor, "wb") as out:
        out.write(answer)
    with contextlib.suppress(Exception):  # the application may have closed or replaced them
        sys.stdout.flush()
        sys.stderr.flush()
    # Not sys.exit(): threads that an import has started would keep the process for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
