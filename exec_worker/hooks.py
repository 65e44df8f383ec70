"""Functions of an application that a worker runs once in its life: before its first call, and after its last."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ipc.clock import now
from ipc.errors import Misuse

if TYPE_CHECKING:
    from ipc.log import Log

AnyHook = Callable[[], Any]
F = TypeVar("F", bound=AnyHook)
Await = Callable[[Coroutine[Any, Any, object]], object]
"""Runs a coroutine in the event loop in which the nodes run, and waits for its end."""

STOP_TIMEOUT = 5.0
"""How long all stop hooks of a worker may take together, seconds; less if its time to drain is over before that."""
LEAST = 0.25
"""What stop hooks are left where calls took all the time there was to drain, seconds."""
MAX_HOOKS = 1000
"""More hooks than this in one process are a mistake: a decorator in a loop, or in a function that is called often."""


class Hook(NamedTuple):
    """One decorated function."""

    kind: str
    function: AnyHook
    name: str
    """`shop.images.load_model`."""
    asynchronous: bool

    @property
    def module(self) -> str:
        """Where it is defined."""
        return str(self.function.__module__)


# By kind, module, name and line: a module that is imported again puts its hooks into the places they had.
_registered: dict[tuple[str, str, str, int], Hook] = {}


def on_worker_start(function: F) -> F:
    """Have a worker run `function` once it has imported its nodes, before its first call.

    A hook that raises keeps the worker from starting, as an import that fails does. Every worker runs the hooks of
    all modules it imports: those of its group's nodes, and what these import.
    """
    return _register("on_worker_start", function)


def on_worker_stop(function: F) -> F:
    """Have a worker run `function` after its last call, before it ends; the hook that was defined last comes first.

    Not if it crashes or is killed. A hook that raises is logged, and the others run nevertheless.
    """
    return _register("on_worker_stop", function)


def _register(kind: str, function: F) -> F:
    import inspect  # noqa: PLC0415 - modules that only define nodes do without it

    if isinstance(function, type) or not callable(function) or not hasattr(function, "__qualname__"):
        raise Misuse(f"@{kind} marks functions, not {function!r}")
    name = f"{function.__module__}.{function.__qualname__}"
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise Misuse(f"@{kind}: {name} is called without arguments, so it must not need any") from None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise Misuse(f"@{kind}: {name} is a generator, of which a call would run nothing; remove its `yield`")
    code = getattr(inspect.unwrap(function), "__code__", None)
    key = (kind, function.__module__, function.__qualname__, code.co_firstlineno if code is not None else 0)
    if key not in _registered and len(_registered) == MAX_HOOKS:
        raise Misuse(f"@{kind}: {name} would be hook {MAX_HOOKS + 1} of this process; define hooks once, in a module")
    _registered[key] = Hook(kind, function, name, inspect.iscoroutinefunction(function))
    return function


def registered(kind: str = "") -> tuple[Hook, ...]:
    """The hooks of the modules that were imported so far, in the order of their definition."""
    return tuple(hook for hook in _registered.values() if kind in {"", hook.kind})


def begin(await_: Await | None = None) -> None:
    """Run the start hooks; LoadError, caused by what it raised, for the first that fails.

    `await_` is for `async def`; None in a worker whose nodes do not run in an event loop.
    """
    from exec_worker.loader import LoadError  # noqa: PLC0415 - heavy, and the application's modules import this one

    if await_ is None:
        for hook in registered():
            if hook.asynchronous:
                raise LoadError(f"{hook.name} is `async def`, and hooks are only in groups of `mode: async`")
    for hook in registered("on_worker_start"):
        try:
            _run(hook, await_)
        except (Exception, SystemExit) as error:
            raise LoadError(f"{hook.name} (on_worker_start) raised {type(error).__name__}: {error}") from error


def _run(hook: Hook, await_: Await | None) -> None:
    done = hook.function()
    if hook.asynchronous and await_ is not None:
        await_(done)


class Departure:
    """The end of a worker that drains: what it still has to do, and how long it may take."""

    def __init__(self) -> None:
        self.hook = ""
        """The stop hook that is being run."""
        self._until: float | None = None

    def begin(self, grace: float) -> None:
        """It was told to drain within so many seconds."""
        if self._until is None:
            self._until = now() + grace

    def spare(self) -> float:
        """How long it may wait for others before its stop hooks are run, seconds."""
        return STOP_TIMEOUT if self._until is None else max(0.0, self._until - LEAST - now())

    def left(self) -> float:
        """How long its stop hooks may take, seconds."""
        return STOP_TIMEOUT if self._until is None else max(LEAST, min(STOP_TIMEOUT, self._until - now()))

    def run(self, log: "Log", await_: Await | None = None) -> None:
        """Run the stop hooks, last first; one that fails is logged."""
        for hook in reversed(registered("on_worker_stop")):
            self.hook = hook.name
            try:
                _run(hook, await_)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the next hook has a pool of its own to close
                log.error("stop_hook_failed", error=error, hook=hook.name)
        self.hook = ""

    def give_up(self, log: "Log") -> None:
        """Its time is over: say which hook is not done."""
        log.error("stop_hooks_unfinished", hook=self.hook, after="the time a worker has to drain is over")
