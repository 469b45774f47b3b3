"""The subject's own mount: a user's coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsdaemon import Connection


async def echo(connection: Connection) -> None:
    """As the documentation shows it."""
    async for message in connection:
        await connection.send(message)
