"""A loop transport shown as a Twisted one, for Autobahn classes of the user's that talk to `self.transport`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ITransport
from zope.interface import implementer

if TYPE_CHECKING:
    from ..core.handshake import Peer
    from .input import Input


def address(peer: Peer | str) -> IAddress:
    """Twisted's address object for a peer or a local address; a path is that of a unix socket."""
    if isinstance(peer, str):
        return UNIXAddress(peer.encode())  # type: ignore[return-value]
    if peer.is_unix:
        return UNIXAddress(None)  # type: ignore[return-value]
    return (IPv6Address if ":" in peer.host else IPv4Address)("TCP", peer.host, peer.port)  # type: ignore[return-value]


@implementer(ITransport)
class TwistedTransport:
    """What a protocol written for Twisted expects; every write goes through the wire, so that nothing overtakes anything."""

    disconnecting = False

    def __init__(self, wire: Input, peer: Peer, local: Peer | str) -> None:
        self._wire = wire
        self._peer = peer
        self._local = local
        self._producer: Any = None
        self._streaming = False
        self.reading_paused = False

    def write(self, data: bytes) -> None:
        self._wire.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._wire.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._wire.flush()
        if self._wire.native is not None:
            self._wire.descriptor = -1
            self._wire.native.close()

    def abortConnection(self) -> None:
        self.disconnecting = True
        if self._wire.native is not None:
            self._wire.descriptor = -1
            self._wire.native.abort()

    def getPeer(self) -> IAddress:
        return address(self._peer)

    def getHost(self) -> IAddress:
        return address(self._local)

    def getPeerCertificate(self) -> Any:
        """The client's certificate as a dict (ssl.SSLSocket.getpeercert), None without one."""
        native: Any = self._wire.native
        return None if native is None else native.get_extra_info("peercert")

    def setTcpNoDelay(self, enabled: bool) -> None:
        """The listener has set it."""

    def pauseProducing(self) -> None:
        self.reading_paused = True
        if self._wire.native is not None:
            self._wire.native.pause_reading()

    def resumeProducing(self) -> None:
        self.reading_paused = False
        self._wire.wire_go_on()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have `producer` paused while the client is slow (pull producers: asked for more whenever there is room)."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._wire.native is None:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            self._pull()

    def _pull(self) -> None:
        """Ask a pull producer again and again, while nothing waits for the client."""
        if self._producer is not None and not self._streaming and self._wire.native is not None and not self._wire.queued:
            self._producer.resumeProducing()
            asyncio.get_running_loop().call_soon(self._pull)

    def unregisterProducer(self) -> None:
        self._producer = None

    def gone(self) -> None:
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
