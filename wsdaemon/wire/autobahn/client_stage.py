"""Autobahn's client protocol as the wire of a client has it: as small as it can be, because a process may have thousands of clients."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketClientProtocol

from .slim import PING, Slimming
from .stage import CLOSED, CLOSING

DROP_SECONDS = 1.0
"""The time that a server has to end the TCP connection once both sides have sent a Close frame (RFC 6455 7.1.1)."""


class SlimClient(Slimming, WebSocketClientProtocol):
    """The base of the class that a client's factory makes, whose attributes are the client's options.

    Its wire makes the opening handshake by itself; the protocol is the authority on frames and on the closing handshake.
    """

    serverConnectionDropTimeoutCall = None

    def _sendAutoPing(self) -> None:
        writer = self._wsdaemon_wire.writer
        writer.write(writer.frame(9, PING, False))

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The server's Close frame: as a rule it ends the TCP connection next."""
        result: bool | None = super().onCloseFrame(code, reasonRaw)
        if self.state == CLOSING and self.wasClean:
            self._wsdaemon_wire.expect_the_end(DROP_SECONDS)
        return result

    def onCloseHandshakeTimeout(self) -> None:
        """The server did not answer our Close frame in time, or did not end the TCP connection after the handshake: then it ends here."""
        if self.wasClean and self.state != CLOSED:
            self.dropConnection(abort=False)
        else:
            super().onCloseHandshakeTimeout()
