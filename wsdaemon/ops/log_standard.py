"""What libraries log through Python's ``logging`` (asyncio, redis and nats clients, ASGI apps) comes into the daemon's log."""

from __future__ import annotations

import logging
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

_LEVELS = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)


class TwistedHandler(logging.Handler):
    """Passes each record to ``twisted.logger``, with the record's logger name as the namespace.

    Without it, Python writes warnings to standard error, which twistd redirects into the log line by line.
    """

    def __init__(self, level: int = logging.NOTSET, observer: Any = None) -> None:
        super().__init__(level)
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record. Never raises."""
        logger = Logger(record.name, observer=self._observer)
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{record.msg!r} (could not be formatted: {type(error).__name__})"
        level = next((ours for number, ours in _LEVELS if record.levelno >= number), LogLevel.debug)
        if record.exc_info and record.exc_info[1] is not None:
            kind, value, trace = record.exc_info
            failure: Any = Failure  # its constructor has no annotations
            logger.failure("{text}", failure(value, kind, trace), level, text=text)
        else:
            logger.emit(level, "{text}", text=text)
