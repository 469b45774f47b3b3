"""The subject's own mount: a user's coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsdaemon import CoroutineConnection


async def echo(connection: CoroutineConnection) -> None:
    """As the documentation shows it."""
    async for message in connection:
        await connection.send(message)
