"""The subject's own mounts: a user's coroutine, and a user's plain function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsdaemon import BlockingConnection, CoroutineConnection


async def echo(connection: CoroutineConnection) -> None:
    """As the documentation shows it."""
    async for message in connection:
        await connection.send(message)


def echo_function(connection: BlockingConnection) -> None:
    """As the documentation shows it; it runs in a thread."""
    for message in connection:
        connection.send(message)
