"""One message to many connections of a daemon, which waits for no client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from ..core.connection import Connection, payload_of, writer_of
from ..core.threads import ThreadCalls
from ..ops.console import LIVE_PATH
from ..wire.fan import send_to_all
from .sockets import ADMIN

if TYPE_CHECKING:
    from ..core.registry import Connections
    from .mounts import Mount
    from .watch import Watch

CONNECTIONS_AT_ONCE = 64
"""Connections between two looks at the clock."""

Where = str | Callable[[Connection], object]
"""The path of a mount, as it was mounted; or a function that says whether a connection is sent the message."""

Sendable = str | bytes | bytearray | memoryview

Failed = Callable[[Connection, str, BaseException], None]


class Broadcast:
    """A message on its way. Each call sends it to some more connections, and returns True until all have had it."""

    def __init__(self, connections: Iterable[Connection], payload: bytes, text: bool, where: Where | None, failed: Failed) -> None:
        """The members are the connections that are open when the first call begins."""
        self._connections = connections
        self._left: Iterator[Connection] | None = None
        self._payload = payload
        self._text = text
        self._where = where
        self._failed = failed
        self._prepared: Any = None

    def __call__(self) -> bool:
        if self._left is None:
            self._left = iter(self._connections)
        some = list(islice(self._left, CONNECTIONS_AT_ONCE))
        writers: list[Any] = [writer_of(connection) for connection in some if connection.is_open and self._chosen(connection)]
        if writers:
            if self._prepared is None:
                self._prepared = writers[0].prepare(self._payload, self._text)
            send_to_all(writers, [self._prepared])
        return len(some) == CONNECTIONS_AT_ONCE

    def _chosen(self, connection: Connection) -> bool:
        if self._where is None:
            return True
        if isinstance(self._where, str):
            return connection.handshake.mount == self._where
        try:
            return bool(self._where(connection))
        except Exception as error:
            self._failed(connection, "choosing the clients of a broadcast", error)
            return False


class Serving(Protocol):
    """A daemon, as its broadcasts see it."""

    @property
    def calls(self) -> ThreadCalls: ...

    @property
    def connections(self) -> Connections: ...

    @property
    def mounts(self) -> Sequence[Mount]: ...

    @property
    def watch(self) -> Watch: ...


def broadcast_from(daemon: Serving, message: Sendable, where: Where | None) -> None:
    """Send a message to the connections of a daemon, from any thread. KeyError if no mount has the path `where`; else as broadcast()."""
    if isinstance(where, str) and where not in [mount.path for mount in daemon.mounts]:
        raise KeyError(f"no mount at {where}")
    broadcast(daemon.calls, of_apps(daemon.connections), message, where, daemon.watch.app_failed)


def of_apps(connections: Iterable[Connection]) -> Iterator[Connection]:
    """All but the pages of the console, which may have shown no token yet. A generator, because they are listed when the call begins."""
    for connection in connections:
        if (connection.handshake.listener, connection.handshake.mount) != (ADMIN, LIVE_PATH):
            yield connection


def broadcast(
    calls: ThreadCalls, connections: Iterable[Connection], message: Sendable, where: Where | None, failed: Failed
) -> None:  # fmt: skip
    """Leave the message for the loop. TypeError if it is no message, SendQueueFull at the bound."""
    payload, text = payload_of(message)
    calls.add(Broadcast(connections, payload, text, where, failed), len(payload))
