"""An existing Autobahn `WebSocketServerProtocol` subclass, served unchanged on this project's transports and limits."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..core.closing import may_be_sent
from ..core.connection import Connection
from ..core.handshake import Handshake
from .output import Native
from .protocol import CONNECTING, OPEN, Wire

if TYPE_CHECKING:
    from ..core.registry import Place
    from .policy import Opening
from .transport import TwistedTransport

PARSER_METHODS = (
    "dataReceived", "_dataReceived", "consumeData", "processData", "onFrameBegin", "onFrameData", "onFrameEnd", "onMessageBegin",
    "onMessageFrameBegin", "onMessageFrameData", "onMessageFrameEnd", "onMessageFrame", "onMessageEnd", "processControlFrame",
)  # fmt: skip


def needs_autobahns_parser(protocol: type[WebSocketServerProtocol]) -> bool:
    """Whether the class takes part in parsing (Autobahn's streaming or frame API), so that it must see every frame."""
    return any(getattr(protocol, name) is not getattr(WebSocketServerProtocol, name) for name in PARSER_METHODS)


class MountedSession:
    """The session of a mounted class: its own onMessage and onClose."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: AutobahnWire) -> None:
        self._protocol = protocol

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        return awaitable(self._protocol.onMessage(payload, not text))

    def closed(self, code: int, reason: str) -> None:
        protocol = self._protocol
        outcome = awaitable(protocol.onClose(protocol.wasClean, code, reason))
        if outcome is not None:
            protocol.in_background(outcome, "closing")


def awaitable(result: Any) -> Awaitable[object] | None:
    """What an Autobahn callback returned, if it can be waited for: stock Autobahn never awaits an `async def onMessage`."""
    return result if inspect.isawaitable(result) or isinstance(result, Deferred) else None


class AutobahnWire(Wire):
    """The base under a user's class: what it inherits from Autobahn is as stock sets it up, what it relies on is ours."""

    @classmethod
    def make(cls) -> Wire:
        """Also right when the user's __init__ does not call its base's."""
        wire = cls.__new__(cls)
        Wire.__init__(wire)
        WebSocketProtocol.__init__(wire)
        wire.trafficStats = TrafficStats()
        wire.__init__()  # type: ignore[misc]
        return wire

    def __init__(self) -> None:
        """Everything was done in make()."""

    def open(self, native: Native, descriptor: int, handshake: Handshake, place: Place, opening: Opening) -> None:
        self._attach(native, descriptor, handshake, place)
        self.peer = f"tcp:{handshake.peer}" if handshake.peer.port else "unix"
        self._transport_details = TransportDetails(
            channel_type=TransportDetails.CHANNEL_TYPE_TLS if handshake.secure else TransportDetails.CHANNEL_TYPE_TCP,
            channel_framing=TransportDetails.CHANNEL_FRAMING_WEBSOCKET,
            peer=self.peer,
            is_server=True,
            is_secure=handshake.secure,
        )
        self.transport = TwistedTransport(self, handshake.peer, handshake.local)
        self._offered = opening.extensions
        self.data = opening.head
        native.pause_reading()  # until onConnect() has decided, which may take a while
        self.wire_policy.wheel.set(self, self.wire_policy.handshake_timeout)
        self.corked = True
        try:
            self.processHandshake()
        except Exception as error:
            self.broken(error)
        finally:
            self.corked = False
            self.flush()

    def data_received(self, data: bytes) -> None:
        if self.state == CONNECTING:
            self.unread += data
        else:
            super().data_received(data)

    def succeedHandshake(self, res: Any) -> None:
        """onConnect() let the client in; `res` is None, a subprotocol, or a pair of subprotocol and headers."""
        if self.state != CONNECTING or self.native is None:
            return
        protocol, headers = res if isinstance(res, tuple) else (res, {})
        if protocol is not None and protocol not in self.websocket_protocols:
            assert self.wire_connection is not None
            error = ValueError(f"onConnect chose the subprotocol {protocol!r}, the client offers {self.websocket_protocols!r}")
            self.wire_policy.watcher.app_failed(self.wire_connection, "opening", error)
            self.failHandshake("internal error", 500)
            return
        headers = dict(self.wire_policy.response_headers) | dict(headers)
        self.websocket_extensions = []
        self._agree_on_extensions(self._offered, headers)
        super().succeedHandshake((protocol, headers))
        unread, self.unread = self.unread, b""
        if unread:
            self.data_received(unread)
        if not self.corked:
            self.flush()
        if self.native is not None and self.wire_waiting is None:
            self.native.resume_reading()

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """onConnect() refused: a whole answer, with a body and its length."""
        text = " ".join(reason.split()) or "refused"
        body = f"{text}\n".encode("utf-8", "replace")
        lines = [f"HTTP/1.1 {code} {text.encode('ascii', 'replace').decode()}", "Content-Type: text/plain; charset=utf-8"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", *(f"{name}: {value}" for name, value in responseHeaders or ())]
        self.write("\r\n".join([*lines, "", ""]).encode() + body)
        if not self.corked:
            self.flush()

    def _onOpen(self) -> None:
        super()._onOpen()
        if self.live:
            try:
                outcome = awaitable(self.onOpen())
            except Exception as error:
                self.app_failed("opening", error)
            else:
                if outcome is not None:
                    self.in_background(outcome, "opening")

    def _make_session(self, connection: Connection) -> MountedSession:
        return MountedSession(self)

    def in_background(self, outcome: Awaitable[object], doing: str) -> None:
        """Run what a callback returned; its exception is treated as the callback's own."""
        import asyncio

        if isinstance(outcome, Deferred):
            outcome = outcome.asFuture(asyncio.get_running_loop())
        future = asyncio.ensure_future(outcome)

        def done(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self.app_failed(doing, error)

        future.add_done_callback(done)

    def _onPing(self, payload: bytes) -> None:
        self.onPing(payload)

    def _onPong(self, payload: bytes) -> None:
        self.onPong(payload)

    def onMessageEnd(self) -> None:
        WebSocketServerProtocol.onMessageEnd(self)

    def sendMessage(
        self, payload: bytes, isBinary: bool = False, fragmentSize: int | None = None, sync: bool = False, doNotCompress: bool = False
    ) -> None:
        if fragmentSize is not None or sync or doNotCompress:
            super().sendMessage(payload, isBinary, fragmentSize, sync, doNotCompress)
            return
        if not isinstance(payload, bytes):
            raise TypeError(f"sendMessage() takes bytes, not {type(payload).__name__}")
        if self.state != OPEN:
            raise Disconnected("Attempt to send on a closed protocol")
        self.send_payload(payload, not isBinary)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if chopsize or sync or self.send_queue:
            super(Wire, self).sendData(data, sync, chopsize)
        else:
            self.write(data)

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """As Autobahn's, for every code that a server may send."""
        if code is not None and may_be_sent(code):
            self.close(code, reason or "")
        else:
            super().sendClose(code, reason)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.congested(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.congested(False)

    def _lost(self, reason: Failure) -> None:
        super()._lost(reason)
        self.transport.unregisterProducer()
