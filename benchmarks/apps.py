"""The subject's own mounts: a user's coroutine, and a bare room for a checkout that has no rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsdaemon import Connection, Handshake


async def echo(connection: Connection) -> None:
    """As the documentation shows it."""
    async for message in connection:
        await connection.send(message)


class Room:
    """One room: what a member sends reaches all others."""

    def __init__(self) -> None:
        self.members: set[Connection] = set()

    def open(self, connection: Connection, handshake: Handshake) -> RoomSession:
        return RoomSession(self, connection)


class RoomSession:
    __slots__ = ("_connection", "_members")

    def __init__(self, room: Room, connection: Connection) -> None:
        self._connection = connection
        self._members = room.members
        self._members.add(connection)

    def received_payload(self, payload: bytes, text: bool) -> None:
        for member in self._members:
            if member is not self._connection and member.is_open:
                member.send_payload(payload, text)

    def closed(self, code: int, reason: str) -> None:
        self._members.discard(self._connection)
