"""Records of Python's ``logging`` (the user's modules, asyncio, redis and nats clients) in the daemon's log.

Without this, Python writes warnings to standard error, which twistd redirects into the log line by line, and drops all below a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsdaemon.ops.logs import DaemonLog

_LEVELS: Final = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
    (logging.DEBUG, LogLevel.debug),
)

_TWISTED: Final = "twisted"
"""The logger to which Twisted's STDLibLogObserver copies events: they are in the daemon's log already."""


class TwistedHandler(logging.Handler):
    """Passes each record to a twisted.logger observer, with the record's logger name as the namespace.

    The observer is given the event itself: nothing that copies Twisted's events into ``logging`` can send them around in a circle.
    """

    def __init__(self, observer: Any, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record. Never raises."""
        if record.name == _TWISTED:
            return
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


def connect(log: DaemonLog) -> Callable[[], None]:
    """Send all records of ``logging`` to the log, whose levels then decide which are written. Returns a function that undoes it.

    The root logger gets the lowest level that the log wants. As it has a handler then, `logging.basicConfig` does nothing.
    """
    root = logging.getLogger()
    handler, before = TwistedHandler(log), root.level
    root.addHandler(handler)
    root.setLevel(next(number for number, ours in _LEVELS if ours is log.lowest_level))

    def undo() -> None:
        root.removeHandler(handler)
        root.setLevel(before)

    return undo
