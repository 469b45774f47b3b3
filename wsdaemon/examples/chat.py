"""A chat room in one coroutine: each message goes to every client.

[mount:/chat]
app = wsdaemon.examples.chat:chat
"""

from __future__ import annotations

from wsdaemon import Connection, ConnectionClosed

members: set[Connection] = set()


async def chat(connection: Connection) -> None:
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
