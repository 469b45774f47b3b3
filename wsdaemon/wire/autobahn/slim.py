"""Autobahn's protocol for the connections of our own apps: as small as it can be, because there may be a hundred thousand."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.python.failure import Failure

from .stage import OPEN, Stage, Staging
from .standins import Resolved

PING = b"ping"
PING_FRAME = b"\x89\x04" + PING


class Slimming(Staging):
    """The part of Slim that a client has too."""

    is_open = is_closed = Resolved()
    _transport_details = None

    def __init__(self) -> None:
        """Everything is in the class."""

    def connectionLost(self, reason: Failure) -> None:
        WebSocketProtocol._connectionLost(self, reason)

    def unregisterProducer(self) -> None:
        """Autobahn's dropConnection() calls it; there is no producer here."""

    def onMessageEnd(self) -> None:
        """As Autobahn's, without telling observers that there cannot be."""
        message: Any = self.message_data
        self.message_data = None
        if not self.failedByMe:
            self._onMessage(b"".join(message), self.message_is_binary)

    def _sendAutoPing(self) -> None:
        self._wsdaemon_wire.writer.write(PING_FRAME)

    def _onPing(self, payload: bytes) -> None:
        if self.state == OPEN:
            writer = self._wsdaemon_wire.writer
            writer.write(writer.frame(10, payload, False))

    def _onPong(self, payload: bytes) -> None:
        """Any bytes from the client show that it lives; a pong tells besides how long it took."""
        deadlines = self._wsdaemon_wire.deadlines
        if deadlines is not None and payload == PING:
            deadlines.ponged()


class Slim(Slimming, Stage):
    """The base of the class that a mount's factory makes, whose attributes are the mount's options."""
