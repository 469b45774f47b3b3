"""A loop transport shown as a Twisted one, for Autobahn classes of the user's that talk to `self.transport`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ITransport
from zope.interface import implementer

from ..reader import CLASS

if TYPE_CHECKING:
    from ...core.handshake import Peer
    from ..reader import Reader


def address(peer: Peer | str) -> IAddress:
    """Twisted's address object for a peer or a local address; a path is that of a unix socket."""
    if isinstance(peer, str):
        return UNIXAddress(peer.encode())  # type: ignore[return-value]
    if peer.is_unix:
        return UNIXAddress(None)  # type: ignore[return-value]
    return (IPv6Address if ":" in peer.host else IPv4Address)("TCP", peer.host, peer.port)  # type: ignore[return-value]


@implementer(ITransport)
class TwistedTransport:
    """The transport that a protocol written for Twisted expects. Every write goes through the Writer, so that the order is kept."""

    disconnecting = False

    def __init__(self, reader: Reader, peer: Peer, local: Peer | str) -> None:
        self._reader = reader
        self._writer = reader.writer
        self._peer = peer
        self._local = local
        self._producer: Any = None
        self._streaming = False

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._writer.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._writer.flush()
        if self._writer.native is not None:
            self._writer.descriptor = -1
            self._writer.native.close()

    def abortConnection(self) -> None:
        self.disconnecting = True
        if self._writer.native is not None:
            self._writer.descriptor = -1
            self._writer.native.abort()

    def getPeer(self) -> IAddress:
        return address(self._peer)

    def getHost(self) -> IAddress:
        return address(self._local)

    def getPeerCertificate(self) -> Any:
        """The client's certificate as a dict (ssl.SSLSocket.getpeercert), None without one."""
        native: Any = self._writer.native
        return None if native is None else native.get_extra_info("peercert")

    def setTcpNoDelay(self, enabled: bool) -> None:
        """The listener has set it."""

    def pauseProducing(self) -> None:
        if self._reader.wire.protocol.state in (WebSocketProtocol.STATE_CONNECTING, WebSocketProtocol.STATE_OPEN):
            self._reader.stop(CLASS)

    def resumeProducing(self) -> None:
        self._reader.go_on(CLASS)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have `producer` paused while the client is slow (pull producers: asked for more whenever there is room)."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._writer.native is None:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            self._pull()

    def _pull(self) -> None:
        """Ask a pull producer again and again, while nothing waits for the client."""
        if self._producer is not None and not self._streaming and self._writer.native is not None and not self._writer.queued:
            self._producer.resumeProducing()
            asyncio.get_running_loop().call_soon(self._pull)

    def unregisterProducer(self) -> None:
        self._producer = None

    def lost(self) -> None:
        """The wire: the connection is over."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def congested(self, slow: bool) -> None:
        """The wire: the client became slow, or caught up."""
        if self._producer is None:
            return
        if not self._streaming:
            self._pull()
        elif slow:
            self._producer.pauseProducing()
        else:
            self._producer.resumeProducing()
