"""The subject's own mounts: a user's coroutine, class and plain function."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsdaemon import BlockingConnection, Connection, CoroutineConnection, Handshake


async def echo(connection: CoroutineConnection) -> None:
    """As the documentation shows it."""
    async for message in connection:
        await connection.send(message)


class Echo:
    """One object for the mount."""

    def open(self, connection: Connection, handshake: Handshake) -> EchoSession:
        return EchoSession(connection)


class EchoSession:
    """One client."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def received(self, message: str | bytes) -> Awaitable[None]:
        return self.connection.send(message)

    def closed(self, code: int, reason: str) -> None:
        """Nothing is left to do."""


def echo_function(connection: BlockingConnection) -> None:
    """As the documentation shows it; it runs in a thread."""
    for message in connection:
        connection.send(message)
