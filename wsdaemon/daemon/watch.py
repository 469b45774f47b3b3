"""The watch over connections: it is told of the beginning and the end of each, and logs failures that no caller catches."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.connection import Connection
from ..core.registry import Connections
from ..core.wheel import Due
from ..ops.connection_log import connection_closed, record_of
from ..ops.metrics import Totals
from ..wire.protocol import Wire

log = Logger(namespace="wsdaemon")
connection_log = Logger(namespace="wsdaemon.connection")
app_log = Logger(namespace="wsdaemon.app")


class Watch:
    """Keeps the registry of open connections, adds up the closed ones, and writes the closing line of each."""

    def __init__(self, connections: Connections, lines: bool) -> None:
        """`lines` is `[logging] connections`."""
        self._connections = connections
        self._lines = lines
        self.totals = Totals()

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection, wire: Wire) -> None:
        self._connections.remove(connection)
        self.totals.closed(connection, wire)
        if self._lines:
            connection_closed(connection_log, record_of(connection, wire))

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        app_log.failure(
            "{mount} failed while {doing} for connection {id}",
            failure=_failure(error),
            mount=connection.handshake.mount,
            doing=doing,
            id=connection.id,
        )


def loop_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a failure that no caller caught, in a callback, a transport or a forgotten task. The daemon goes on."""
    message, error = str(context.get("message", "unhandled error")), context.get("exception")
    if isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)) or "SSL" in message:
        log.debug("{message}: {error}", message=message, error=str(error))
    elif isinstance(error, BaseException):
        log.failure("{message}", failure=_failure(error), message=message)
    else:
        log.error("{message}", message=message)


def due_failed(item: Due, error: Exception) -> None:
    """Log a failure of one deadline. The others go on."""
    log.failure("a timer failed", failure=_failure(error))


def _failure(error: BaseException) -> Failure:
    return Failure(error, type(error), error.__traceback__)
