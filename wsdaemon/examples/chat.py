"""A chat room in one coroutine: what one says, all hear.

[mount:/chat]
app = wsdaemon.examples.chat:chat
"""

from __future__ import annotations

from wsdaemon import ConnectionClosed, CoroutineConnection

members: set[CoroutineConnection] = set()


async def chat(connection: CoroutineConnection) -> None:
    """Everybody here is in one room."""
    members.add(connection)
    try:
        async for message in connection:
            for member in list(members):
                try:
                    member.send(message)
                except ConnectionClosed:
                    members.discard(member)
    finally:
        members.discard(connection)
