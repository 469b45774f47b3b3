"""A chat room in one coroutine: each message goes to every client.

[mount:/chat]
app = wsdaemon.examples.chat:chat
"""

from __future__ import annotations

from wsdaemon import ConnectionClosed, CoroutineConnection

members: set[CoroutineConnection] = set()


async def chat(connection: CoroutineConnection) -> None:
    """All connections are in one room."""
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
