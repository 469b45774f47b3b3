"""Autobahn's protocol as a wire has it: what it sends goes to the Writer, what it decides is told to the wire, and it makes no timers.

`Slim` is made of it for our own apps. Beneath a class of the user's it overrides Autobahn's own names only, so that no name is forbidden to
users. Its one attribute of ours is in the object's dict rather than in a slot, so that an object which a user's buildProtocol() made can
become one (an object keeps its memory layout for ever).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol

from ...core.closing import MESSAGE_TOO_BIG, may_be_sent
from ..frames import longest_compressed
from ..whole import Whole
from .answers import check_header, checked_answer
from .pieces import gather
from .standins import Validator, WireLog

if TYPE_CHECKING:
    from ..deadlines import Deadlines
    from ..deflate.streams import Deflate
    from ..policy import WirePolicy
    from ..reader import Reader
    from ..writer import Writer

CONNECTING = WebSocketProtocol.STATE_CONNECTING
OPEN = WebSocketProtocol.STATE_OPEN
CLOSING = WebSocketProtocol.STATE_CLOSING
CLOSED = WebSocketProtocol.STATE_CLOSED


class Staged(Whole, Protocol):
    """A wire as Autobahn's protocol sees it."""

    @property
    def policy(self) -> WirePolicy: ...

    @property
    def reader(self) -> Reader: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def deadlines(self) -> Deadlines | None: ...

    def agree(self, headers: dict[str, Any]) -> None:
        """Agree on compression, which is then named in the answer's `headers`."""

    def began(self) -> None:
        """The 101 was sent: the connection is open."""

    def admitted(self) -> None:
        """onConnect() has let the client in, and onOpen() was called."""

    def refused(self, reason: str, detail: str = "") -> None:
        """onConnect() turns the client away, or takes too long."""

    def closing(self) -> None:
        """A Close frame was sent."""

    def close_transport(self, abort: bool) -> None:
        """Autobahn wants the TCP connection to end."""

    def expect_the_end(self, seconds: float) -> None:
        """The peer should end the TCP connection within `seconds`; then it is ended here."""

    def ended(self, was_clean: bool, reason: str | None) -> None:
        """Autobahn: the connection is over."""

    @property
    def session(self) -> Any:
        """The session of a mounted class; None before the connection is open."""


class Staging(WebSocketProtocol):
    """The half of Stage that a client has too. The class attributes are what Autobahn would set on each object."""

    _wsdaemon_wire: Staged

    log = WireLog()
    websocket_version = 13
    data = b""
    state = CONNECTING
    send_state = WebSocketProtocol.SEND_STATE_GROUND
    current_frame: Any = None
    inside_message = False
    send_queue: Any = ()
    triggered = False
    trackedTimings = None
    _perMessageCompress: Deflate | None = None
    utf8validator = Validator()
    websocket_protocol_in_use: str | None = None
    trafficStats = TrafficStats()  # shared by the connections of our own apps: its sums are not used, ours are the Reader's and Writer's
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    closedByMe = failedByMe = droppedByMe = wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = wasOpenHandshakeTimeout = wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    openHandshakeTimeoutCall = closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = autoPingPending = autoPingPendingCall = autoPingPendingSent = None
    autoPingPendingSeq = 0
    message_data: Any
    frame_data: Any
    control_frame_data: Any
    websocket_protocols: Sequence[str]

    # -- sending

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if chopsize or sync or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            self._wsdaemon_wire.writer.write(data)

    def sendFrame(
        self, opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, mask: bytes | None = None, payload_len: int | None = None,
        chopsize: int | None = None, sync: bool = False,
    ) -> None:  # fmt: skip
        """A whole message meets the mount's `slow_client`; a fragment cannot be dropped. Both are counted, once for each message."""
        writer = self._wsdaemon_wire.writer
        if fin and opcode in (1, 2) and rsv in (0, 4) and not (mask or payload_len is not None or chopsize or sync or self.send_queue):
            writer.send_frame(writer.frame(opcode, payload, rsv == 4))
            return
        if fin and opcode < 8:
            writer.messages_out += 1
        super().sendFrame(opcode, payload, fin, rsv, mask, payload_len, chopsize, sync)

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
        self._wsdaemon_wire.writer.send_payload(payload, not isBinary)

    def sendPreparedMessage(self, preparedMsg: Any) -> None:
        if self._perMessageCompress is not None and not preparedMsg.doNotCompress:
            self.sendMessage(preparedMsg.payload, preparedMsg.binary)
        else:
            self._wsdaemon_wire.writer.send_frame(preparedMsg.payloadHybi)

    # -- closing

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """As Autobahn's, for every code that a server may send."""
        if code is not None and may_be_sent(code):
            self._wsdaemon_wire.close(code, reason or "")
        else:
            super().sendClose(code, reason)

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        was_open = self.state == OPEN
        if was_open:
            self._wsdaemon_wire.writer.empty_shelf()
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if was_open:
            self._wsdaemon_wire.closing()

    def dropConnection(self, abort: bool = False) -> None:
        self._wsdaemon_wire.writer.live = False
        super().dropConnection(abort)

    def _closeConnection(self, abort: bool = False) -> None:
        self._wsdaemon_wire.close_transport(abort and not self.wasClean)

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._wsdaemon_wire.ended(wasClean, reason)

    # -- Autobahn's parser: see Fallback

    def dataReceived(self, data: bytes) -> None:
        self._dataReceived(data)

    def consumeData(self) -> None:
        """Autobahn's loop over what it holds, which also stops while nothing is to be read."""
        if self.state in (OPEN, CLOSING):
            reader = self._wsdaemon_wire.reader
            while not reader.stops and self.processData() and self.state != CLOSED:
                pass
        else:
            super().consumeData()

    def processControlFrame(self) -> bool:
        """Pings and pongs are paid for on this way too."""
        if self.current_frame.opcode == 8:
            return bool(super().processControlFrame())
        payload, self.control_frame_data = b"".join(self.control_frame_data), None
        self._wsdaemon_wire.reader.control(self.current_frame.opcode, payload)
        return True

    def _onPong(self, payload: bytes) -> None:
        wire, pending = self._wsdaemon_wire, self.autoPingPending
        if pending is not None and payload == pending and wire.deadlines is not None:
            wire.deadlines.ponged()
            self.autoPingPending, sent, now = None, self.autoPingPendingSent, time.time_ns()
            self.onAutoPong(sent, self.autoPingPendingSeq, now, (now - sent) // 1_000_000, payload)
        self.onPong(payload)

    def _onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._wsdaemon_wire.reader.parsed(payload, isBinary)

    def _onMessageBegin(self, isBinary: bool) -> None:
        """Of a compressed message Autobahn adds up what is inflated and what is yet to come, so there its limit bounds only memory, and
        _onMessageFrameData() looks at the message's size.
        """
        reader = self._wsdaemon_wire.reader
        assert reader.fallback is not None
        reader.fallback.fragments = 0
        if self._perMessageCompress is not None and reader.maximum:
            limit = longest_compressed(reader.maximum) if self._isMessageCompressed else reader.maximum
            self.maxMessagePayloadSize = self.maxFramePayloadSize = limit
        super()._onMessageBegin(isBinary)

    def _onMessageFrameBegin(self, length: int) -> None:
        reader = self._wsdaemon_wire.reader
        assert reader.fallback is not None
        reader.fallback.fragments += 1
        most = reader.policy.settings.max_fragments
        if reader.fallback.fragments > most > 0 and not self.failedByMe:
            self._fail_connection(MESSAGE_TOO_BIG, f"message of more than {most} fragments")
        super()._onMessageFrameBegin(length)

    def _onMessageFrameData(self, payload: bytes) -> None:
        if self._isMessageCompressed and not self.failedByMe:
            size = self.message_data_total_length - (self.current_frame.length - self.current_frame_masker.pointer())
            maximum = self._wsdaemon_wire.reader.maximum
            if size > maximum > 0:
                self._max_message_size_exceeded(size, maximum, f"message of more than {maximum} bytes")
                return
        super()._onMessageFrameData(payload)

    def onMessageFrameData(self, payload: bytes) -> None:
        """As Autobahn's, which keeps each piece that comes: a client chooses how many there are."""
        if not self.failedByMe:
            gather(self.frame_data, payload)

    def onMessageFrame(self, payload: Any) -> None:
        """As Autobahn's, which keeps each fragment."""
        if not self.failedByMe:
            for piece in payload:
                gather(self.message_data, piece)


class Stage(Staging, WebSocketServerProtocol):
    """A server connection of Autobahn's."""

    # -- the opening handshake

    def _connectionMade(self) -> None:
        """As Autobahn's, whose log of all options costs more than the rest of a handshake."""
        self.trafficStats = TrafficStats()
        self.send_queue = deque()
        self.factory.countConnections += 1

    def succeedHandshake(self, res: Any) -> None:
        """onConnect() let the client in; `res` is None, a subprotocol, or a pair of subprotocol and headers."""
        wire = self._wsdaemon_wire
        if self.state != CONNECTING or wire.writer.native is None:
            return
        try:
            protocol, given = checked_answer(res, self.websocket_protocols)
        except (TypeError, ValueError) as error:
            wire.app_failed("opening", error)
            self.failHandshake("internal error", 500)
            return
        headers: dict[str, Any] = {**wire.policy.response_headers, **given}
        self.websocket_extensions: list[Any] = []
        wire.agree(headers)
        super().succeedHandshake((protocol, headers))
        wire.admitted()

    def onOpenHandshakeTimeout(self) -> None:
        """onConnect() has not answered in time."""
        self._wsdaemon_wire.refused("handshake_timeout")
        super().onOpenHandshakeTimeout()

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """onConnect() refused: a whole answer, with a body and its length."""
        wire = self._wsdaemon_wire
        given = [(str(name), str(value)) for name, value in responseHeaders or ()]
        try:
            for name, value in given:
                check_header(name, value)
        except ValueError as error:
            wire.app_failed("opening", error)
            code, reason, given = 500, "internal error", []
        wire.refused("on_connect", f": {code}")
        text = " ".join((reason or "").split()) or "refused"
        body = f"{text}\n".encode("utf-8", "replace")
        lines = [f"HTTP/1.1 {code} {text.encode('ascii', 'replace').decode()}", "Content-Type: text/plain; charset=utf-8"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", *(f"{name}: {value}" for name, value in given)]
        wire.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        if not wire.writer.corked:
            wire.writer.flush()

    def _onOpen(self) -> None:
        wire = self._wsdaemon_wire
        wire.began()
        if wire.writer.live:
            wire.session.opened()
