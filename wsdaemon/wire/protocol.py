"""One connection's wire: Autobahn's protocol and the loop's protocol in one object, from the opening handshake's end to the close.

Autobahn's per-connection set-up (`_connectionMade`) is replaced by class attributes: a connection carries only what differs from its
mount's, which is where most of the memory and of the time of a handshake went.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ..core.closing import (
    ABNORMAL,
    INTERNAL_ERROR,
    MESSAGE_TOO_BIG,
    NO_STATUS,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    reason_bytes,
)
from ..core.connection import Connection
from ..core.contract import ExpiringSession, PayloadSession, Session, open_session
from ..core.handshake import Handshake
from .agreement import negotiate
from .answer import answer
from .deflate import Deflate
from .frames import RSV1, TEXT, longest_compressed
from .meter import Meter
from .output import Native
from .pausing import Pause
from .sender import Sender
from .standins import Forgotten, Resolved, Validator, WireLog

if TYPE_CHECKING:
    from ..core.registry import Place
    from .policy import Refusing

CLOSED = WebSocketProtocol.STATE_CLOSED
CONNECTING = WebSocketProtocol.STATE_CONNECTING
CLOSING = WebSocketProtocol.STATE_CLOSING
OPEN = WebSocketProtocol.STATE_OPEN

CLEAN = Failure(ConnectionDone())
LOST = Failure(ConnectionLost())


class Wire(Sender, WebSocketServerProtocol):
    """A server connection. Subclasses made by factory.wire_class() carry the options of one mount as class attributes."""

    __slots__ = ("opened", "wire_place", "wire_session")

    log = WireLog()
    websocket_version = 13
    data = b""
    state = CONNECTING
    send_state = WebSocketProtocol.SEND_STATE_GROUND
    current_frame: Any = None
    inside_message = False
    send_queue: Sequence[Any] = ()
    triggered = False
    trackedTimings = None
    _perMessageCompress: Deflate | None = None
    _transport_details = None
    is_open = is_closed = Resolved()
    utf8validator = Validator()
    http_response_data = Forgotten()
    websocket_extensions_in_use = Forgotten()
    websocket_protocol_in_use: str | None = None
    trafficStats = TrafficStats()  # shared: its sums are not used, ours are on the wire
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    closedByMe = failedByMe = droppedByMe = wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = wasOpenHandshakeTimeout = wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode = localCloseReason = remoteCloseCode = remoteCloseReason = None
    openHandshakeTimeoutCall = closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = autoPingPending = autoPingPendingCall = autoPingPendingSent = None
    autoPingPendingSeq = 0
    fragments = 0
    message_data: Any
    control_frame_data: Any

    def __init__(self) -> None:
        Sender.__init__(self)
        self.wire_session: Session | PayloadSession | None = None
        self.wire_place: Place | None = None
        self.opened = False

    # -- the opening handshake

    @classmethod
    def make(cls) -> Wire:
        return cls()

    def open(
        self, native: Native, descriptor: int, handshake: Handshake, place: Place, *, key: str, extensions: str, time_left: float,
        refusals: Refusing | None,
    ) -> None:  # fmt: skip
        """Answer an admitted opening handshake and open the connection. See factory.Wires."""
        self._attach(native, descriptor, handshake, place)
        headers = dict(self.wire_policy.response_headers)
        self._agree_on_extensions(extensions, headers)
        if handshake.subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = handshake.subprotocol
        self.wire_together(partial(self.wire_answer, answer(key, headers)))

    def wire_answer(self, data: bytes) -> None:
        """As Autobahn's succeedHandshake(), which would look at each of the request's extensions and of the answer's headers again."""
        self.write(data)
        self.state = OPEN
        self._onOpen()

    def _agree_on_extensions(self, offered: str, headers: dict[str, Any]) -> None:
        agreed = negotiate(offered, self.wire_policy.deflate) if offered and self.wire_policy.deflate is not None else None
        if agreed is not None:
            parameters, headers["Sec-WebSocket-Extensions"] = agreed
            self._perMessageCompress = Deflate.server(parameters)
            self.wire_flags |= RSV1

    def _attach(self, native: Native, descriptor: int, handshake: Handshake, place: Place) -> None:
        self.native, self.descriptor, self.wire_place = native, descriptor, place
        native.set_protocol(self)
        native.set_write_buffer_limits(high=0)
        connection_class = getattr(self.wire_policy.app, "connection_class", Connection)
        self.wire_connection = connection_class(self, handshake, self.wire_policy.next_id())

    def _onOpen(self) -> None:
        """Autobahn: the answer is on its way."""
        policy, connection = self.wire_policy, self.wire_connection
        assert connection is not None
        self.live = self.opened = True
        policy.watcher.opened(connection)
        if not self.live:  # the daemon is stopping
            return
        self.start_timers()
        try:
            self.wire_session = self._make_session(connection)
        except Exception as error:
            self.app_failed("opening", error)
            return
        if not getattr(policy.app, "keeps_handshake", True):
            connection.handshake.let_go()
        if policy.messages_per_second or policy.bytes_per_second or policy.control_frames_per_second:
            rates = policy.messages_per_second, policy.bytes_per_second, policy.control_frames_per_second
            self.meter = Meter(*rates, policy.wheel.time())
        take_payload = getattr(self.wire_session, "received_payload", None)
        self.payloads = take_payload is not None
        self.wire_received = take_payload if take_payload is not None else getattr(self.wire_session, "received")  # noqa: B009 - a Protocol's union
        if not self.payloads:
            self.wire_flags |= TEXT

    def _make_session(self, connection: Connection) -> Session | PayloadSession:
        assert self.wire_policy.app is not None
        return open_session(self.wire_policy.app, connection, connection.handshake)

    # -- sending

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Autobahn's control frames and handshake answers."""
        self.write(data)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake with any code (Autobahn's sendClose() refuses 1001, 1011, 1012 and others)."""
        if self.state == OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason_bytes(reason))
            if self.out is not None and not self.corked:
                self.flush()

    def abort(self) -> None:
        if self.native is not None:
            self.live = False
            self.droppedByMe = True
            self.descriptor = -1
            self.out = None
            self.native.abort()

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        was_open = self.state == OPEN
        if self.shelf is not None:
            self._take_from_shelf(self.shelf.size)  # nothing may follow a Close frame
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if was_open:
            self.live = False
            if self.wire_connection is not None:
                self.wire_connection.has_room()
            self.wire_policy.wheel.set(self, self.wire_policy.close_timeout)
            self._listen_for_the_answer()

    def _listen_for_the_answer(self) -> None:
        """What the client sent before its Close frame is not for the app any more, so a waiting app must not hold it up."""
        if self.wire_waiting is not None and self.native is not None:
            unread, self.unread, self.held = self.unread, b"", None
            if self.data:  # Autobahn's parser stopped in the middle of what it had
                self.consumeData()
            self.read(unread)
            if self.native is not None and not self.wire_deferred:
                self.native.resume_reading()

    def too_slow(self) -> None:
        if self.live:
            self.close(TRY_AGAIN_LATER, "client reads too slowly")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.wire_connection is not None:
            self.wire_connection.has_room()

    # -- receiving

    def control(self, opcode: int, payload: bytes) -> None:
        self.heard = True
        if self.meter is not None and not self.meter.spend_control(self.wire_policy.wheel.time()):
            self.close(POLICY_VIOLATION, "too many control frames")
        elif opcode == 9:
            self._onPing(payload)
        else:
            self._onPong(payload)

    def processControlFrame(self) -> bool:
        """Autobahn's parser: pings and pongs are paid for on this way too."""
        if self.current_frame.opcode == 8:
            return bool(super().processControlFrame())
        payload, self.control_frame_data = b"".join(self.control_frame_data), None
        self.control(self.current_frame.opcode, payload)
        return True

    def _onPing(self, payload: bytes) -> None:
        if self.state == OPEN:
            self.write(self.frame(10, payload, False))

    def _onPong(self, payload: bytes) -> None:
        """Any bytes from the client show that it lives; a pong tells besides how long it took."""
        self.wire_ponged(payload)

    def _onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Autobahn's parser: a whole message. What comes after our Close frame is dropped."""
        if self.live:
            self.hand_over(payload if self.payloads or isBinary else payload.decode(), not isBinary)

    def _onMessageBegin(self, isBinary: bool) -> None:
        """Autobahn's parser: a message begins.

        Of a compressed one it adds up what is inflated and what is yet to come, so there its limit bounds only memory, and
        _onMessageFrameData() looks at the message's size.
        """
        if self._perMessageCompress is not None and self.maximum:
            limit = longest_compressed(self.maximum) if self._isMessageCompressed else self.maximum
            self.maxMessagePayloadSize = self.maxFramePayloadSize = limit
        super()._onMessageBegin(isBinary)

    def _onMessageFrameData(self, payload: bytes) -> None:
        if self._isMessageCompressed and not self.failedByMe:
            size = self.message_data_total_length - (self.current_frame.length - self.current_frame_masker.pointer())
            if size > self.maximum > 0:
                self._max_message_size_exceeded(size, self.maximum, f"message of more than {self.maximum} bytes")
                return
        super()._onMessageFrameData(payload)

    def onMessageBegin(self, isBinary: bool) -> None:
        self.fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        self.fragments += 1
        if self.fragments > self.wire_policy.max_fragments > 0 and not self.failedByMe:
            self._fail_connection(MESSAGE_TOO_BIG, f"message of more than {self.wire_policy.max_fragments} fragments")
        super().onMessageFrameBegin(length)

    def onMessageEnd(self) -> None:
        """As Autobahn's, without telling observers that there cannot be."""
        message: list[bytes] = self.message_data
        self.message_data = None
        if not self.failedByMe:
            self._onMessage(b"".join(message), self.message_is_binary)

    # -- timers

    def expiring(self, seconds: float) -> bool:
        """Warn the session that its client's token ends in `seconds`. False: the connection is not open yet, so there is no session."""
        session = self.wire_session
        if self.live and isinstance(session, ExpiringSession):
            try:
                session.expiring(seconds)
            except Exception as error:
                self.app_failed("warning the client", error)
        return self.opened

    def due(self) -> None:
        """The wheel: a ping is due, or its answer, or the end of a closing handshake."""
        if self.state == OPEN:
            self.time_passed()
        elif self.state == CLOSING:
            self.onCloseHandshakeTimeout()
        elif self.state == CONNECTING:
            self.onOpenHandshakeTimeout()
        elif self.native is not None:
            self.abort()

    # -- the end

    def app_failed(self, doing: str, error: BaseException) -> None:
        assert self.wire_connection is not None
        self.wire_policy.watcher.app_failed(self.wire_connection, doing, error)
        self.close(INTERNAL_ERROR, "internal error")

    def broken(self, error: Exception) -> None:
        """Our own fault: this connection ends, the others do not notice."""
        assert self.wire_connection is not None
        self.wire_policy.watcher.app_failed(self.wire_connection, "reading", error)
        self.abort()

    def dropConnection(self, abort: bool = False) -> None:
        self.live = False
        super().dropConnection(abort)

    def unregisterProducer(self) -> None:
        """Autobahn's dropConnection() calls it; there is no producer here."""

    def _closeConnection(self, abort: bool = False) -> None:
        native = self.native
        if native is None:
            return
        if abort and not self.wasClean:
            self.abort()
            return
        self.flush()
        self.descriptor = -1
        native.close()
        # A client that does not take the rest must not keep the socket for ever.
        self.wire_policy.wheel.set(self, self.wire_policy.close_timeout)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self.wire_policy.wheel.clear(self)
        self.native, self.descriptor, self.out = None, -1, None
        if self.shelf is not None:
            self.shelf.take(self.shelf.size)  # an app may keep the connection for long; how many were dropped stays known
        self.live, self.partial, self.held, self.unread = False, None, None, b""
        self._lost(CLEAN if exc is None else LOST)

    def _lost(self, reason: Failure) -> None:
        WebSocketProtocol._connectionLost(self, reason)

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Autobahn: it is over. Says who closed and how, then tells the session, last of all."""
        connection, place = self.wire_connection, self.wire_place
        if place is not None:
            place.leave()
            self.wire_place = None
        if connection is None or connection.close_code is not None:
            return
        connection.ended(*self._verdict(wasClean, reason))
        if self.opened:
            self.wire_policy.watcher.closed(connection, self)
        if self.wire_waiting is None:
            self.closed_last()
        elif isinstance(self.wire_waiting, Pause):
            self.wire_waiting.cancel()

    def _verdict(self, was_clean: bool, reason: str | None) -> tuple[int, str, str]:
        ours = self.localCloseCode if self.closedByMe else None
        if ours is not None and (was_clean or self.failedByMe or self.wasCloseHandshakeTimeout):
            return ours, (self.localCloseReason or b"").decode("utf-8", "replace"), "server"
        if was_clean:
            code = self.remoteCloseCode
            return NO_STATUS if code is None else code, self.remoteCloseReason or "", "client"
        if ours is not None:
            return ours, "no closing handshake", "server"
        if self.droppedByMe:
            return ABNORMAL, self.wasNotCleanReason or "", "server"
        return ABNORMAL, "connection lost without a Close frame", "network"

    def closed_last(self) -> None:
        session, self.wire_session, self.wire_received = self.wire_session, None, None
        connection = self.wire_connection
        if session is None or connection is None:
            return
        if self._perMessageCompress is not None:
            self._perMessageCompress.release()
        try:
            session.closed(connection.close_code or ABNORMAL, connection.close_reason)
        except Exception as error:
            self.wire_policy.watcher.app_failed(connection, "closing", error)
