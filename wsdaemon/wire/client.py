"""The wire of a client: the parts of a server's wire with a client's frames, and one protocol of Autobahn's client factory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol

from ..core.closing import ABNORMAL, NO_STATUS
from ..core.connection import Connection
from ..core.handshake import Handshake, Headers, Peer
from ..core.registry import Place
from .autobahn.client_stage import SlimClient
from .deflate.streams import Deflate
from .wire import OPEN, Wire

if TYPE_CHECKING:
    from .deflate.negotiation import DeflateParameters
    from .policy import WirePolicy
    from .writer import Native


class ClientSession(Protocol):
    """The owner of a client's connection."""

    def opened(self, wire: ClientWire) -> None:
        """The connection is open. Called before the first message."""

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        """A message came. If the result is an awaitable, the connection reads no further until it is done."""

    def closed(self, code: int, reason: str) -> None:
        """The connection is over. Called exactly once, and last."""

    def writable(self) -> None:
        """The server has taken what had to wait for it."""

    def failed(self, error: BaseException) -> None:
        """`received` raised `error`, or its awaitable did."""


class ClientApp:
    """Stands where a server's policy has its app: each connection of a client is given its session."""

    keeps_handshake = True  # one object for all connections

    def open(self, connection: Connection, handshake: Handshake, /) -> Any:
        """Never called: ClientWire has its session from the start."""
        raise NotImplementedError


class ClientFactory(WebSocketClientFactory):
    """The Autobahn factory of a client. Its protocols are of one class, which has the options as attributes."""

    def __init__(self, policy: WirePolicy, reactor: Any) -> None:
        super().__init__(url=None, reactor=reactor)
        maximum = policy.settings.max_message
        self.setProtocolOptions(
            version=18, utf8validateIncoming=True, acceptMaskedServerFrames=False, maskClientFrames=True, applyMask=True,
            maxFramePayloadSize=maximum, maxMessagePayloadSize=maximum, autoFragmentSize=0, failByDrop=False, echoCloseCodeReason=True,
            # The wheel keeps these times for all connections, so Autobahn makes no timers of its own.
            serverConnectionDropTimeout=0, openHandshakeTimeout=0, closeHandshakeTimeout=0, autoPingInterval=0, autoPingTimeout=0,
            tcpNoDelay=True, perMessageCompressionOffers=[], perMessageCompressionAccept=lambda response: None,
        )  # fmt: skip
        options = {name: getattr(self, name) for name in WebSocketClientProtocol.CONFIG_ATTRS}
        self.protocol = type("ClientProtocol", (SlimClient,), {"factory": self, **options})

    def buildProtocol(self, addr: object) -> SlimClient:
        """As Twisted's, without a reference to the factory on each protocol."""
        protocol: SlimClient = self.protocol()
        return protocol


NO_HANDSHAKE = Handshake(
    target="/", path="/", raw_path=b"/", query_string=b"", headers=Headers(), peer=Peer("server", 0), local=Peer("", 0), secure=False,
    subprotocols=(), subprotocol=None, listener="", mount="/",
)  # fmt: skip
"""Stands where a connection of a server has the request: a client keeps its own."""


class ClientWire(Wire):
    """A client's connection. Everything besides the opening and the verdict is as at a server."""

    __slots__ = ("owner",)

    def __init__(self, policy: WirePolicy, protocol: SlimClient, native: Native, descriptor: int, session: ClientSession) -> None:
        """`descriptor` is the plain socket's, -1 for TLS."""
        super().__init__(policy, protocol, native, descriptor, NO_HANDSHAKE, Place(()))
        self.session: Any = session
        self.owner = session  # for work that outlives the connection

    def start(self, native: Native, deflate: DeflateParameters | None, early: bytes) -> None:
        """The server's 101 came: from here on the transport is ours. `early` are the bytes that followed it."""
        self.attach(native, not self.policy.fast)
        if deflate is not None:
            self.compress(Deflate.client(deflate, self.policy.turns.deflating))
        self.protocol.state = OPEN
        self.together(self.began)
        if early and self.writer.native is not None:
            self.reader.data_received(early)

    def began(self, accepted: object = None) -> None:
        """The connection is open."""
        settings = self.policy.settings
        self.writer.live = self.opened = True
        if settings.ping_interval or settings.idle_timeout or settings.lifetime:
            self.timer().start()
        self.listen()
        self.session.opened(self)

    def wait_for(self, work: asyncio.Future[Any]) -> None:
        """Deliver no message before `work` is done. Its error belongs to the connection that began it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work.add_done_callback(lambda _: None if done.done() else done.set_result(None))
        self.reader._hold(done, None)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.writer.live:
            self.session.writable()

    def app_failed(self, doing: str, error: BaseException) -> None:
        """The owner is told; the connection goes on."""
        self.owner.failed(error)

    def ended(self, was_clean: bool, reason: str | None) -> None:
        super().ended(was_clean, reason)
        if self.writer.native is None and self.session is not None and self.reader.waiting is not None:
            # A server's session waits for its app here. The owner of a client must know at once, because it connects again.
            self.close_session()

    def _verdict(self, was_clean: bool, reason: str | None) -> tuple[int, str, str]:
        protocol = self.protocol
        ours = protocol.localCloseCode if protocol.closedByMe else None
        if ours is not None and (was_clean or protocol.failedByMe or protocol.wasCloseHandshakeTimeout):
            return ours, (protocol.localCloseReason or b"").decode("utf-8", "replace"), "client"
        if was_clean:
            code = protocol.remoteCloseCode
            return NO_STATUS if code is None else code, protocol.remoteCloseReason or "", "server"
        if protocol.droppedByMe:
            return ABNORMAL, protocol.wasNotCleanReason or "", "client"
        return ABNORMAL, "connection lost without a Close frame", "network"


class ClientWires:
    """Opens the connections of clients with one policy."""

    __slots__ = ("_factory", "policy")

    def __init__(self, policy: WirePolicy, reactor: Any) -> None:
        self.policy = policy
        self._factory = ClientFactory(policy, reactor)

    def open(
        self, native: Native, descriptor: int, session: ClientSession, deflate: DeflateParameters | None, early: bytes = b""
    ) -> ClientWire:
        """Go on after the server's 101. `deflate`: what both sides agreed on. `early` are bytes that followed the answer.

        `descriptor` is the plain socket's, -1 for TLS. The session is told that the connection is open before this returns.
        """
        wire = ClientWire(self.policy, self._factory.buildProtocol(None), native, descriptor, session)
        wire.start(native, deflate, early)
        return wire


