"""Python's logging comes into the daemon's log."""

from __future__ import annotations

import logging
from typing import Any

from twisted.logger import LogEvent

from wsdaemon.ops.log_format import TextRenderer, TextShape
from wsdaemon.ops.log_standard import TwistedHandler


def test_records_of_python_logging_come_through() -> None:
    events: list[LogEvent] = []
    observer: Any = events.append
    source = logging.Logger("redis.client", logging.DEBUG)
    source.addHandler(TwistedHandler(observer=observer))
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
