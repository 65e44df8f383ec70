"""`shunter routes`: every way into the service, read as `check` reads it. Starts nothing, and asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.check import OK, print_json, read
from supervisor.endpoints import RESERVED
from supervisor.errors import EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PAGES = ("/openapi.json", "/docs", "/redoc")
"""What FastAPI serves of itself where there is no app that says otherwise."""
USUAL_PRIORITY = "normal"
_HEALTH = dict(zip(RESERVED, ("whether the web worker lives", "whether the service can serve"), strict=True))


def routes(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print them, or every fault of the configuration; returns the exit code."""
    plan = read(config, overrides, as_json=as_json)
    if plan is None:
        return EXIT_CODE
    found = list(ways_in(plan))
    if as_json:
        print_json({"ok": True, "routes": found})
    else:
        _print(found)
    return OK


def ways_in(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each as plain data: declared endpoints, then what the app serves itself, then what Shunter adds."""
    for endpoint in plan["endpoints"]:
        yield _way(
            "endpoint",
            endpoint["path"],
            endpoint["methods"],
            leads_to=endpoint["pipeline"] or [endpoint["node"]],
            group=endpoint["group"],
            timeout_seconds=endpoint["timeout_seconds"],
            priority=endpoint["priority"],
            max_concurrency=endpoint["max_concurrency"],
        )
    web = plan["web"]
    for route in plan["app_routes"]:
        yield _way(route["kind"], route["path"], route["methods"], leads_to=[web["app"]])
    if web["docs"] and not web["app"]:
        yield from (_way("docs", path, ["GET"]) for path in _PAGES)
    yield from (_way("health", path, ["GET"]) for path in RESERVED)


def _way(kind: str, path: str, methods: Sequence[str], leads_to: Sequence[str] = (), **more: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data
    """One of them; what only declared endpoints have is None for all others."""
    told = dict.fromkeys(("group", "timeout_seconds", "priority", "max_concurrency"))
    return {"kind": kind, "methods": list(methods), "path": path, "leads_to": list(leads_to), **told, **more}


def _print(found: Sequence[dict[str, Any]]) -> None:
    from cli.folded import Folded  # noqa: PLC0415 -- rich is slow to import, and JSON needs none
    from cli.output import show, table  # noqa: PLC0415 -- as above

    special = [  # to be seen only where somebody has asked for it
        *(["priority"] if any(way["priority"] not in {None, USUAL_PRIORITY} for way in found) else []),
        *(["at once"] if any(way["max_concurrency"] for way in found) else []),
    ]
    rows = table("method", "path", "leads to", "group", "timeout", *special, right=("timeout", "at once"))
    for way in found:
        told = {"priority": way["priority"] or "-", "at once": str(way["max_concurrency"] or "-")}
        rows.add_row(
            ",".join(way["methods"]) or {"websocket": "WS", "mount": "*"}.get(way["kind"], "-"),
            Folded(way["path"] or "/"),
            Folded(_leads_to(way)),
            way["group"] or "-",
            f"{way['timeout_seconds']:g} s" if way["timeout_seconds"] else "-",
            *(told[name] for name in special),
        )
    show(rows)


def _leads_to(way: dict[str, Any]) -> str:
    match way["kind"]:
        case "endpoint":
            return " > ".join(way["leads_to"])
        case "health":
            return _HEALTH[way["path"]]
        case "docs":
            return "documentation"
        case "mount":
            return f"{way['leads_to'][0]}, an app mounted there"
        case _:
            return str(way["leads_to"][0])
