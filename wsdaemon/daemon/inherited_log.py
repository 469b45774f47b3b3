"""The log of a process that another one has started: it goes where the first one's does."""

from __future__ import annotations

import logging
import os

from twisted.logger import globalLogBeginner
from twisted.python.reflect import namedAny

from ..ops.log_standard import connect
from ..ops.logs import DaemonLog, LogOptions, make_log
from ..settings.daemon import LoggingSettings
from .inheritance import InheritedLog


def begin_log(chosen: LoggingSettings, told: InheritedLog, opened: int, worker: int | None = None) -> DaemonLog | None:
    """The log, already in use; None if an observer of the operator's own takes the lines.

    `opened`: the descriptor of the log file, -1 if the log is none. `worker`: the number of this worker, which its lines carry.
    """
    if told.observer:
        globalLogBeginner.beginLoggingTo([namedAny(told.observer)()], redirectStandardIO=False)
        return None
    options = LogOptions(level=chosen.level, levels=chosen.levels, format=chosen.format, destination=told.destination)
    log = make_log(options, os.environ, syslog_prefix=told.prefix, worker=worker, opened=opened)
    log.open()
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)  # type: ignore[list-item]
    if not logging.getLogger().handlers:
        connect(log)
    return log
