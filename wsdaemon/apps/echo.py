"""Sends each message back to its sender."""

from __future__ import annotations

from ..core.connection import Connection, writer_of
from ..core.handshake import Handshake


class EchoApp:
    """The app behind `app = echo`."""

    keeps_handshake = False

    def open(self, connection: Connection, handshake: Handshake) -> EchoSession:
        return EchoSession(connection)

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> EchoSession:
        """A connection of another process: echo has no state."""
        return EchoSession(connection)


class EchoSession:
    __slots__ = ("received_payload",)

    def __init__(self, connection: Connection) -> None:
        # The writer's method is the receiver, because echo only sends each message back. While the client does not read its echoes, the
        # method returns an awaitable, and the connection reads no further.
        self.received_payload = writer_of(connection).send_payload

    def hand_over(self) -> bytes:
        return b""

    def closed(self, code: int, reason: str) -> None:
        """Nothing to clean up."""
