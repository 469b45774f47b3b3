"""The observer of each connection's beginning and end, and of failures that no caller catches."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.connection import Connection
from ..core.rare_lines import LineLog, RareLines
from ..core.registry import Connections
from ..core.wheel import Due
from ..core.wire_halves import Counts
from ..ops.access_log import AccessFormat, AccessLine
from ..ops.connection_log import connection_closed, record_of
from ..ops.latest_closes import LatestCloses
from ..ops.metrics import Totals
from ..wire.policy import FrameWatching

log = Logger(namespace="wsdaemon")
connection_log = Logger(namespace="wsdaemon.connection")
app_log = Logger(namespace="wsdaemon.app")


class Watch:
    """Keeps the registry of open connections, adds up the closed ones, and writes the closing line of each."""

    def __init__(self, connections: Connections, lines: bool, access_format: str = "") -> None:
        """`lines` is `[logging] connections`, `access_format` the key of that name."""
        self.connections = connections
        self.choose(lines, access_format)
        self.totals = Totals()
        self.closes: LatestCloses | None = None
        """Where ended connections are remembered, if an operator may look."""
        self.frame_log: FrameWatching | None = None
        """Where each frame is shown, in development."""
        self._failures = RareLines(app_log)

    def choose(self, lines: bool, access_format: str) -> None:
        """Write these lines from now on."""
        self.lines = lines
        self._format = AccessFormat(access_format) if access_format else None

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)

    def closed(self, connection: Connection, counts: Counts) -> None:
        self.forget(connection, counts)
        if self.closes is None and not self.lines:
            return
        record = record_of(connection, counts)
        if self.closes is not None:
            self.closes.add(record)
        if self.lines:
            connection_closed(connection_log, record, None if self._format is None else AccessLine(self._format, record))

    def forget(self, connection: Connection, counts: Counts) -> None:
        """As `closed`, but no line is written, and the connection is not among the latest closes."""
        self.connections.remove(connection)
        self.totals.closed(connection, counts)

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self._failures.failure(
            (connection.handshake.mount, doing, type(error)),
            "{mount} failed while {doing} for connection {id}",
            failure_of(error),
            mount=connection.handshake.mount,
            doing=doing,
            id=connection.id,
        )


class UncaughtFailures:
    """Logs failures that no caller caught, once a minute for each kind, because a client may cause them. The daemon goes on."""

    def __init__(self, line_log: LineLog = log) -> None:
        self._lines = RareLines(line_log)

    def in_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: a failure in a callback, a transport or a forgotten task."""
        message, error = str(context.get("message", "unhandled error")), context.get("exception")
        if isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)) or "SSL" in message:
            log.debug("{message}: {error}", message=message, error=str(error))
        elif isinstance(error, BaseException):
            self._lines.failure((type(error), _kind(error)), "{message}", failure_of(error), message=message)
        else:
            self._lines.error("no exception", "{message}", message=message)

    def of_deadline(self, item: Due, error: Exception) -> None:
        """A failure of one deadline. The others go on."""
        self._lines.failure((type(item), type(error)), "a timer failed", failure_of(error))


def _kind(error: BaseException) -> object:
    """Where the error was raised: two places that fail alike are two reasons."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def failure_of(error: BaseException) -> Failure:
    return Failure(error, type(error), error.__traceback__)
