"""What the documents say in numbers, names, examples and links is what is there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import typer.main

from cli import dev, logs, main
from ipc.messages import control as asked
from supervisor import (
    aftermath,
    audience,
    command,
    errands,
    figures,
    hold,
    lifecycle,
    logbook,
    outlet,
    output,
    probe,
    process_group,
    recent,
    scaler,
    scaling,
    signals,
    succession,
    systemd,
)
from supervisor.config import Log
from supervisor.process_group import ProcessGroup, Restarts
from supervisor.sources import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
MIB = 1024 * 1024
USUAL, RESTART = ProcessGroup(name="cpu"), Restarts()

SENTENCES = [
    ("supervision.md", "with the crash after `limit` others", RESTART.limit, 10),
    ("supervision.md", "after 0.1 seconds, and after twice", RESTART.backoff_seconds, 0.1),
    ("supervision.md", "up to 30 seconds, give or take", RESTART.backoff_max_seconds, 30),
    ("supervision.md", "up for a minute begins a new row", RESTART.stable_seconds, 60),
    ("supervision.md", "1 to 256, while it runs", process_group.MAX_WORKERS, 256),
    ("supervision.md", "keeps the next seat waiting for two seconds", succession.OVERLAP, 2),
    ("supervision.md", "about\na tenth of a second after the last of several writes", dev.SETTLED, 100),
    ("supervision.md", "puts together the last ten seconds", figures.WINDOW, 10),
    ("supervision.md", "Twice a second the supervisor holds", scaler.LOOK_EVERY, 0.5),
    ("supervision.md", "nine of ten calls waited", scaler.MOST_WAIT, 0.9),
    ("supervision.md", "in the last three seconds", scaler.SPAN, 3),
    ("supervision.md", "over the target for a second", scaling.UP_AFTER, 1),
    ("supervision.md", "| 4 s after the change before |", scaling.UP_COOLDOWN, 4),
    ("supervision.md", "below half the target", scaling.EASE, 0.5),
    ("supervision.md", "for at most 60 % of their time", scaling.ROOM, 0.6),
    ("supervision.md", "that has been so for 30 s", scaling.DOWN_AFTER, 30),
    ("supervision.md", "up to ten\n  minutes", scaling.MAX_DOWN_AFTER, 600),
    ("supervision.md", "less than a quarter of their time", scaling.LEAST_BUSY, 0.25),
    ("supervision.md", "tried again half a minute later", scaler.RETRY_AFTER, 30),
    ("supervision.md", "for `hung_timeout_seconds`, 10 unless given", USUAL.hung_timeout_seconds, 10),
    ("supervision.md", "has a second for it", lifecycle.LATE_DUMP_TIME, 1),
    ("supervision.md", "or a tenth\nfor a call that overran", lifecycle.DUMP_TIME, 0.1),
    ("supervision.md", "Guards of command groups are given ten\nseconds", aftermath.PARTING, 10),
    ("supervision.md", "another signal, or 0.1 s later", signals.BOUNCE, 0.1),
    ("supervision.md", "after it has run for half a second", command.MOMENT, 0.5),
    ("supervision.md", "asked ten times a second", probe.PROBE_EVERY, 0.1),
    ("supervision.md", "a question takes a second at most", probe.PROBE_TIMEOUT, 1),
    ("supervision.md", "than the first 1 KiB of an answer", probe.MAX_LINE, 1024),
    ("supervision.md", "After five seconds the log says why", hold.SAY_AFTER, 5),
    ("supervision.md", "every ten seconds while groups start", systemd.HEARTBEAT, 10),
    ("operating.md", "keeps the last 256 in memory", recent.MAX_KEPT, 256),
    ("operating.md", "Eight may watch at once", audience.MAX_WATCHERS, 8),
    ("operating.md", "4 MiB of parameters and of body", asked.MAX_ASKED, 4 * MIB),
    ("operating.md", "4 MiB of\nresult", asked.MAX_RESULT, 4 * MIB),
    ("operating.md", "four calls at once", errands.MAX_CALLS, 4),
    ("logs.md", "the last 100 lines of all groups", logs.LINES, 100),
    ("logs.md", "| `runtime.log.max_bytes`, 10 MiB |", Log().max_bytes, 10 * MIB),
    ("logs.md", "| `runtime.log.files`, 2 |", Log().files, 2),
    ("logs.md", "64 lines or 16 KiB a turn", output.SHARE, 64),
    ("logs.md", "about 12,000 lines a second", output.PAUSE, 0.005),
    ("logs.md", "4096, half of them of one worker", outlet.WAITING, 4096),
    ("logs.md", "1024 lines or 256 KiB, the last ones", output.LAST_LINES, 1024),
    ("logs.md", "pauses for half a second is told in pieces", output.HOLD, 0.5),
    ("logs.md", "Lines longer than 32 KiB come in pieces", output.MAX_LINE, 32 * 1024),
    ("logs.md", "tried once a second", logbook.RETRY, 1),
    ("logs.md", "within a second of the next line", logbook.GLANCE, 1),
]
"""Of a document, some words that stand in it, and the number of the code that they tell, as they do."""


@pytest.mark.parametrize(("document", "words", "number", "told"), SENTENCES, ids=[words for _, words, *_ in SENTENCES])
def test_numbers_are_those_of_the_code(document: str, words: str, number: float, told: float) -> None:
    assert _flat(words) in _flat((ROOT / "docs" / document).read_text()), "say where it stands now"
    assert number == told, f"{document} says {words!r}"


def _flat(text: str) -> str:
    return " ".join(text.split())


GROUPS = re.findall(r"(?:^    .*\n)+", (ROOT / "docs" / "supervision.md").read_text(), re.MULTILINE)
GROUPS = [textwrap.dedent(block) for block in GROUPS if "process_groups:" in block]


@pytest.mark.parametrize("block", GROUPS)
def test_examples_of_groups_are_configurations(tmp_path: Path, block: str) -> None:
    file = tmp_path / "shunter.yaml"
    file.write_text("runtime:\n  platform:\n" + textwrap.indent(block, "    "))
    file.chmod(0o600)
    groups = load(file, {}, ()).config.runtime.platform.process_groups
    assert re.findall(r"name: (\w+)", block) == [group.name for group in groups]
    for group_ in groups:
        if "restart" in block:
            assert group_.restart == RESTART, "these are the defaults"


def test_web_workers_of_a_service_that_is_developed_are_quick_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "shunter.yaml"
    file.write_text("runtime: {web: {drain_timeout_seconds: 9}}")
    file.chmod(0o600)
    web = load(file, {}, [*dev.QUICK, "runtime.web.keep_alive_seconds=7"]).config.runtime.web
    assert (web.drain_timeout_seconds, web.keep_alive_seconds) == (1, 7)


def test_the_readme_names_every_command_and_no_other() -> None:
    table = (ROOT / "README.md").read_text().partition("## At a terminal")[2].partition("Exit codes")[0]
    cells = [line.partition("|")[2].partition("|")[0] for line in table.splitlines()]
    named = {name for cell in cells for name in re.findall(r"`shunter ([\w-]+)", cell)}
    there = typer.main.get_command(main.app).commands  # type: ignore[attr-defined]
    assert named == {name for name, one in there.items() if not one.hidden}


def test_options_in_the_readme_are_options() -> None:
    table = (ROOT / "README.md").read_text().partition("## At a terminal")[2].partition("Exit codes")[0]
    commands = typer.main.get_command(main.app).commands  # type: ignore[attr-defined]
    for name, rest in re.findall(r"`shunter ([\w-]+) ?([^`]*)`", table):
        options = {option for given in commands[name].params for option in given.opts}
        assert set(re.findall(r"--?[a-z-]+", rest)) <= options, name


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not anchor or there.suffix != ".md" or anchor in _anchors(there), target
