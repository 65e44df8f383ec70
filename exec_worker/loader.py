"""Finds nodes by name or by looking through packages, and binds those a worker is to run."""

import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from exec_worker.binding import Binding
from exec_worker.components import Components
from exec_worker.node import AnyFunction, info_of
from exec_worker.reader import ContractError, Signature, read, source_of
from exec_worker.signature import contract_of, disagreement
from ipc.contract import NodeContract
from ipc.hints import nearest

_MACHINERY = (
    "<frozen importlib",
    str(importlib.__file__),
    *(str(Path(__file__).parent.parent / name) + os.sep for name in ("exec_worker", "ipc")),
)
"""Where the frames of a traceback are from that tell nothing about the application."""
_MAX_TRACEBACK = 16_384
"""Characters of one traceback; its end, which tells most, is kept."""


class LoadError(Exception):
    """Something of the application cannot be imported or is not what it was. The cause says why."""

    @property
    def traceback(self) -> str:
        """The traceback of the cause: frames of the application, without those of the import machinery."""
        return "" if self.__cause__ is None else _traceback(self.__cause__)


class Found(NamedTuple):
    """A function, the name it goes by as a node, and `module:attribute` to find it again."""

    name: str
    function: AnyFunction
    imported_from: str


def _traceback(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error, compact=True)
    part: traceback.TracebackException | None = told
    while part is not None:
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if not frame.filename.startswith(_MACHINERY)]
        )
        part = part.__cause__ or part.__context__
    return "".join(told.format())[-_MAX_TRACEBACK:]


def put_first(directories: Iterable[str]) -> None:
    """Make directories importable, before everything else, in their order."""
    wanted = list(dict.fromkeys(directories))
    sys.path[:] = [*wanted, *(entry for entry in sys.path if entry not in wanted)]
    importlib.invalidate_caches()


def load(contracts: Sequence[NodeContract], sys_path: Iterable[str] = ()) -> dict[str, Binding]:
    """Import the nodes and bind them; LoadError if one is gone or has another signature than described."""
    put_first(sys_path)
    return {contract.name: _bind(contract) for contract in contracts}


def _bind(contract: NodeContract) -> Binding:
    found = find(contract.imported_from or contract.name)._replace(name=contract.name)
    signature, here = contract_at(found, Components())
    if (part := disagreement(contract, here)) is not None:
        raise LoadError(
            f"{contract.name} has changed since it was described: {part} is not the same in {here.source}. "
            "Reload to describe the application again"
        )
    return Binding(found.function, contract, signature)


def contract_at(found: Found, components: Components) -> tuple[Signature, NodeContract]:
    """What a function found takes and gives; LoadError if it cannot be a node, or its types raise when asked."""
    name, function, imported_from = found
    try:
        signature = read(function, name=name)
        return signature, contract_of(
            function, name=name, imported_from=imported_from, components=components, signature=signature
        )
    except ContractError as error:
        raise LoadError(str(error)) from None
    except Exception as error:
        raise LoadError(f"{source_of(function)}: {name} cannot be read: {type(error).__name__}: {error}") from error


def find(dotted: str) -> Found:
    """The function `shop.images.thumbnail`, or `shop.images:thumbnail`; LoadError if there is none."""
    module, attributes = _module_of(dotted)
    value: Any = module
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            near = nearest(attribute, vars(value) if hasattr(value, "__dict__") else ())
            hint = f"; did you mean {near!r}?" if near else ""
            raise LoadError(f"{dotted}: {module.__name__} has no {attribute!r}{hint}") from None
    if not is_function(value):
        raise LoadError(f"{dotted} is {type(value).__name__} {value!r:.80}, not a function")
    return Found(dotted.replace(":", "."), value, f"{module.__name__}:{'.'.join(attributes)}")


def is_function(value: object) -> bool:
    """Whether it is a function, a bound method, or a wrapper such as `functools.cache` makes around one."""
    return inspect.isroutine(value) or (inspect.isroutine(inspect.unwrap(value)) if callable(value) else False)


def _module_of(dotted: str) -> tuple[ModuleType, list[str]]:
    """The longest part of the name that is a module, and the attributes that follow."""
    if ":" in dotted:
        name, _, rest = dotted.partition(":")
        return import_module(name), rest.split(".")
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            return import_module(name), parts[length:]
        except LoadError as error:
            # A module that is missing may be a class; one that another module misses is a fault of that one.
            if length == 1 or not _is_missing(name, error.__cause__):
                raise
    raise LoadError(f"{dotted!r} names no function: write its module too, such as 'shop.images.thumbnail'")


def _is_missing(name: str, error: BaseException | None) -> bool:
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return name == error.name or name.startswith(f"{error.name}.")


def import_module(name: str) -> ModuleType:
    """The module; LoadError, caused by whatever it raised, if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise LoadError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _raise(error: LoadError) -> None:
    raise error


def discover(packages: Iterable[str], failed: Callable[[LoadError], None] = _raise) -> list[Found]:
    """Every decorated function in the packages and all that is inside of them, in the order of names.

    A function belongs to the module that defines it, wherever else it is imported. `failed` is told of
    modules that cannot be imported, and the walk goes on.
    """
    found: list[Found] = []
    seen: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        try:
            module = import_module(name)
        except LoadError as error:
            failed(error)
            continue
        found.extend(_decorated(module))
        inside = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}.")
        # Importing a `__main__` would run the program.
        waiting[:0] = sorted(each.name for each in inside if not each.name.endswith(".__main__"))
    return found


def _decorated(module: ModuleType) -> list[Found]:
    here: dict[int, Found] = {}
    for attribute, value in vars(module).items():
        try:
            info = info_of(value)
            if info is None or not is_function(value) or value.__module__ != module.__name__:
                continue
        except Exception:  # noqa: BLE001, S112 - some objects raise whatever they are asked for, and are no nodes
            continue
        # Of two names for one function, its own counts.
        if id(value) not in here or attribute == value.__name__:
            name = info.name or f"{module.__name__}.{attribute}"
            here[id(value)] = Found(name, value, f"{module.__name__}:{attribute}")
    return list(here.values())
