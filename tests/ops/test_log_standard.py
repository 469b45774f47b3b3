"""Python's logging comes into the daemon's log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, STDLibLogObserver

from wsdaemon.ops.log_format import TextRenderer, TextShape
from wsdaemon.ops.log_standard import TwistedHandler, connect
from wsdaemon.ops.logs import LogOptions, make_log


def test_records_of_python_logging_come_through() -> None:
    events: list[LogEvent] = []
    observer: Any = events.append
    source = logging.Logger("redis.client", logging.DEBUG)
    source.addHandler(TwistedHandler(observer))
    source.warning("lost %s {x}", "the\nserver")
    source.debug("%d", "no number")
    try:
        raise ValueError("broken")
    except ValueError:
        source.exception("while reading")
    entries = [(TextRenderer(TextShape.PREFIXED)(event) or b"").decode() for event in events]
    assert entries[0] == "<4>redis.client: lost the\\nserver {x}\n"
    assert entries[1] == "<7>redis.client: '%d' (could not be formatted: TypeError)\n"
    assert entries[2].startswith("<3>redis.client: while reading\n<3>    Traceback")
    assert "broken" in entries[2]


@pytest.mark.parametrize(
    ("level", "levels", "written"),
    [
        ("info", {}, ["info", "warning"]),
        ("warn", {}, ["warning"]),
        ("error", {"my.app": "debug"}, ["debug", "info", "warning"]),
        ("info", {"my": "warn"}, ["warning"]),
    ],
)
def test_the_logs_levels_decide(tmp_path: Path, level: str, levels: dict[str, str], written: list[str]) -> None:
    log = make_log(LogOptions(level=level, levels=levels, destination=str(tmp_path / "ws.log")), {})
    log.open()
    before = logging.getLogger().level
    undo = connect(log)
    try:
        for name in ("debug", "info", "warning"):
            getattr(logging.getLogger("my.app"), name)(name)
    finally:
        undo()
        log.close()
    assert [line.split()[-1] for line in (tmp_path / "ws.log").read_text().splitlines()] == written
    assert logging.getLogger().level == before


def test_an_observer_that_copies_twisteds_events_into_logging_makes_no_circle(tmp_path: Path) -> None:
    log = make_log(LogOptions(destination=str(tmp_path / "ws.log")), {})
    log.open()
    copier = STDLibLogObserver()  # to the logger "twisted"

    def both(event: LogEvent) -> None:
        log(event)
        copier(event)

    undo = connect(log)
    try:
        observer: Any = both
        Logger("mine", observer=observer).info("once")
    finally:
        undo()
        log.close()
    assert (tmp_path / "ws.log").read_text().count("once") == 1
