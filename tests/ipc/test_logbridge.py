import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipc.log import Log
from ipc.logbridge import Bridge, install
from ipc.messages.settings import LogSettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Log("web-0#1", LogSettings(level="debug"), fd)
    os.close(fd)


@pytest.fixture
def logger(log: Log) -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.logbridge")
    bridge = Bridge(log, lambda: {"request_id": "r-1", "trace": "t"})
    logger.addHandler(bridge)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(bridge)
    logger.setLevel(logging.NOTSET)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_line_with_its_logger_and_its_request(logger: logging.Logger, path: Path) -> None:
    logger.info("charged %d cards", 3)
    (line,) = lines(path)
    assert line.pop("time")
    assert line == {
        "level": "info", "worker": "web-0#1", "event": "charged 3 cards", "logger": "shop.logbridge",
        "request_id": "r-1", "trace": "t",
    }  # fmt: skip


def test_every_level_has_its_own(logger: logging.Logger, path: Path) -> None:
    for level in (5, 10, 20, 25, 30, 40, 50, 60):
        logger.setLevel(1)
        logger.log(level, "x")
    told = [line["level"] for line in lines(path)]
    assert told == ["debug", "debug", "info", "info", "warning", "error", "error", "error"]


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_an_error_comes_with_its_traceback(logger: logging.Logger, path: Path, level: int) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logger.log(level, "broken\n", exc_info=True)
    (line,) = lines(path)
    assert line["event"] == "broken"
    assert "ZeroDivisionError: division by zero" in line["traceback"]
    assert "test_logbridge.py" in line["traceback"]


def test_many_lines_are_one(logger: logging.Logger, path: Path) -> None:
    logger.info('a\nb\r\n{"level": "error"}\x1b[31m')
    assert len(lines(path)) == 1


def test_a_record_that_cannot_be_formatted_is_told_as_it_is(log: Log, path: Path) -> None:
    for msg, args in (("%d cards", ("three",)), ("%s %s", ("one",))):
        Bridge(log).handle(logging.makeLogRecord({"msg": msg, "args": args, "name": "n", "levelno": 20}))
    assert [line["event"][:8] for line in lines(path)] == ["%d cards", "%s %s (i"]


def test_no_request_is_no_field(log: Log, path: Path) -> None:
    Bridge(log).handle(logging.makeLogRecord({"msg": "x", "name": "n", "levelno": 20}))
    assert lines(path)[0].keys() == {"time", "level", "worker", "event", "logger"}


def test_what_is_installed_hears_all_loggers(log: Log, path: Path) -> None:
    root = logging.getLogger()
    level = root.level
    names = ["uvicorn", "asyncio", "multipart", "python_multipart", "httpx", "httpcore"]
    levels = {name: logging.getLogger(name).level for name in names}
    bridge = install(log, "info")
    try:
        logging.getLogger("shop.any").debug("not this")
        logging.getLogger("shop.any").info("this")
        logging.getLogger("uvicorn.error").info("nor what every server says")
        logging.getLogger("uvicorn.error").warning("but this")
    finally:
        root.removeHandler(bridge)
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
    assert [line["event"] for line in lines(path)] == ["this", "but this"]
