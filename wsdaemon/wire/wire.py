"""One connection's wire: opening, closing and the verdict. It has one Autobahn protocol, and the parts that do the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from autobahn.exception import Disconnected
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from ..core.closing import ABNORMAL, INTERNAL_ERROR, INVALID_PAYLOAD, NO_STATUS, reason_bytes
from ..core.connection import Broadcasting
from ..core.contract import Acceptance, ExpiringSession, open_session
from ..core.typed_messages import BadMessage
from ..core.wire_halves import Counts
from .abandoned import Abandoned
from .answer import answer
from .autobahn.answers import request_head
from .autobahn.fallback import Fallback
from .deadlines import Deadlines
from .deflate.negotiation import negotiate
from .deflate.streams import Deflate
from .frames import RSV1, TEXT
from .meter import Meter
from .reader import OPENING, Reader
from .waits import Wait
from .writer import Native, Writer

if TYPE_CHECKING:
    from ..core.background import Background
    from ..core.handshake import Handshake
    from ..core.registry import Place
    from ..core.threads import ThreadCalls
    from .autobahn.stage import Stage
    from .policy import Refusing, WirePolicy

OPEN = WebSocketProtocol.STATE_OPEN

CLEAN = Failure(ConnectionDone())
LOST = Failure(ConnectionLost())


class Wire:
    """A server connection: what its parts cannot do alone.

    `protocol` is Autobahn's, made by the mount's factory: ours, or the user's object. It is the authority on the state, the closing
    handshake, and whatever the fast path does not take. `deadlines` are made when they are first needed. `opened`: the 101 was sent.
    """

    __slots__ = ("asking", "connection", "deadlines", "opened", "place", "policy", "protocol", "reader", "session", "writer")

    def __init__(
        self, policy: WirePolicy, protocol: Stage, native: Native, descriptor: int, handshake: Handshake, place: Place, id: str = ""
    ) -> None:  # fmt: skip
        """`descriptor` is the plain socket's, -1 for TLS. `place` is left when the connection ends. `id`: it has one already."""
        self.policy = policy
        self.protocol = protocol
        self.writer = Writer(self, policy, native, descriptor)
        self.reader = Reader(self, policy, self.writer)
        self.deadlines: Deadlines | None = None
        self.place: Place | None = place
        self.session: Any = None
        self.asking: Asking | None = None
        self.opened = False
        self.connection = policy.connection_class(self, handshake, id or policy.next_id())
        protocol._wsdaemon_wire = self

    # -- opening

    def attach(self, native: Native, always_fall_back: bool) -> None:
        """From here on the transport is ours. `always_fall_back`: Autobahn's parser reads every frame."""
        if always_fall_back:
            self.reader.fallback = Fallback(self.protocol, always=True)
        native.set_protocol(self.reader)
        native.set_write_buffer_limits(high=0)

    def open(self, key: str, extensions: str, accepted: Acceptance | None = None) -> None:
        """Answer an opening handshake for an app of ours, as Autobahn's succeedHandshake() does, which would read the request again.

        `accepted` is the answer of an app that decides about handshakes itself.
        """
        headers, subprotocol = self.policy.response_headers, self.connection.handshake.subprotocol
        if extensions or subprotocol is not None:
            headers = dict(headers)
            self._agree(extensions, headers)
            if subprotocol is not None:
                headers["Sec-WebSocket-Protocol"] = subprotocol
        self.together(partial(self._answer, answer(key, headers, () if accepted is None else accepted.headers), accepted))

    def _answer(self, data: bytes, accepted: Acceptance | None) -> None:
        self.writer.write(data)
        self.protocol.state = OPEN
        self.began(accepted)

    def ask(self, extensions: str, time_left: float, refusals: Refusing | None) -> None:
        """Let a class of the user's answer: its onConnect() decides, which may take a while."""
        self.asking = Asking(extensions, refusals)
        self.reader.stop(OPENING)
        self.timer().expect(time_left)
        self.together(self._connect)

    def _connect(self) -> None:
        protocol, handshake = self.protocol, self.connection.handshake
        from .autobahn.transport import TwistedTransport  # here, because few mounts run a class of Autobahn's

        protocol.makeConnection(TwistedTransport(self.reader, handshake.peer, handshake.local))
        protocol._transport_details = TransportDetails(
            channel_type=TransportDetails.CHANNEL_TYPE_TLS if handshake.secure else TransportDetails.CHANNEL_TYPE_TCP,
            channel_framing=TransportDetails.CHANNEL_FRAMING_WEBSOCKET,
            peer=protocol.peer,
            is_server=True,
            is_secure=handshake.secure,
        )
        protocol.data = request_head(handshake)
        protocol.processHandshake()

    def agree(self, headers: dict[str, Any]) -> None:
        """As _agree(), for the request that a class of the user's is asked about."""
        assert self.asking is not None
        self._agree(self.asking.extensions, headers)

    def _agree(self, offered: str, headers: dict[str, Any]) -> None:
        """Agree on compression, which is then named in the answer's `headers`."""
        agreed = negotiate(offered, self.policy.deflate) if offered and self.policy.deflate is not None else None
        if agreed is not None:
            parameters, headers["Sec-WebSocket-Extensions"] = agreed
            self.compress(Deflate.server(parameters, self.policy.turns.deflating))

    def compress(self, deflate: Deflate) -> None:
        """Messages of both directions may be compressed."""
        self.protocol._perMessageCompress = self.writer.deflate = deflate
        self.reader.flags |= RSV1

    def admitted(self) -> None:
        """onConnect() has let the client in, and onOpen() was called."""
        self.asking = None
        self.reader.go_on(OPENING)

    def refused(self, reason: str, detail: str = "") -> None:
        """onConnect() turns the client away, or takes too long."""
        if self.asking is not None and self.asking.refusals is not None:
            handshake = self.connection.handshake
            self.asking.refusals.add(reason, handshake.peer, detail, mount=handshake.mount)

    def began(self, accepted: Acceptance | None = None) -> None:
        """The 101 is on its way: the connection is open. The app or what it has `accepted` makes the session."""
        policy, connection, settings = self.policy, self.connection, self.policy.settings
        self.writer.live = self.opened = True
        self.writer.leave_out_the_answer()
        policy.watcher.opened(connection)
        if self.deadlines is not None or settings.ping_interval or settings.idle_timeout or settings.lifetime:
            self.timer().start()
        if not self.writer.live:  # the daemon is stopping
            if accepted is not None and accepted.abandoned is not None:
                accepted.abandoned()
            return
        try:
            self.session = self._make_session(accepted)
        except Exception as error:
            self.app_failed("opening", error)
            return
        if not policy.keeps_handshake:
            connection.handshake.let_go()
        if settings.messages_per_second or settings.bytes_per_second:
            self.reader.meter = Meter.of(settings, policy.wheel.absence.time())
        self.listen()
        if self.deadlines is not None:
            self.deadlines.end_if_over()

    def listen(self) -> None:
        """The session receives the messages: as payloads, if it takes those, else as str and bytes."""
        take_payload = getattr(self.session, "received_payload", None)
        self.reader.received = self.session.received if take_payload is None else take_payload
        if take_payload is None:
            self.reader.flags |= TEXT

    def _make_session(self, accepted: Acceptance | None) -> Any:
        app: Any = self.policy.app if accepted is None or accepted.open is None else accepted
        if app is None:
            from .autobahn.mounted import MountedSession

            return MountedSession(self.protocol, self.policy.settings.on_message == "in_order")
        return open_session(app, self.connection, self.connection.handshake)

    # -- what parts and others ask of the whole

    def timer(self) -> Deadlines:
        """The connection's deadlines."""
        if self.deadlines is None:
            self.deadlines = Deadlines(self)
        return self.deadlines

    @property
    def calls(self) -> ThreadCalls:
        return self.policy.calls

    @property
    def background(self) -> Background:
        return self.policy.background

    @property
    def broadcast(self) -> Broadcasting:
        return self.policy.broadcast

    def counts(self) -> Counts:
        reader, writer = self.reader, self.writer
        dropped = 0 if writer.shelf is None else writer.shelf.dropped
        bytes_out = max(0, writer.bytes_out)  # below 0 until the answer has been written
        return Counts(reader.messages_in, writer.messages_out, reader.bytes_in, bytes_out, dropped)

    def together(self, work: Callable[[], object]) -> None:
        """Do `work`; what it sends leaves in one write at its end. Its exception is our own fault, and ends this connection alone."""
        writer = self.writer
        writer.corked = True
        try:
            work()
        except Exception as error:
            self.broken(error)
        finally:
            writer.corked = False
            if writer.out is not None:
                writer.flush()

    def end_by(self, when: float, code: int, reason: str) -> None:
        """Close with `code` at `when`, the loop's time in seconds, unless something earlier was said."""
        self.timer().end_by(when, code, reason)

    def expiring(self, seconds: float) -> bool:
        """Warn the session that its client's token ends in `seconds`. False: the connection is not open yet, so there is no session."""
        session = self.session
        if self.writer.live and isinstance(session, ExpiringSession):
            try:
                session.expiring(seconds)
            except Exception as error:
                self.app_failed("warning the client", error)
        return self.opened

    def pause_writing(self) -> None:
        """The transport: it holds what the client does not take."""
        self.writer.pause_writing()
        if self.policy.backlog_age and self.writer.live:
            self.timer().watch_backlog()
        if self.policy.app is None:
            self.protocol.transport.congested(True)

    def resume_writing(self) -> None:
        """The transport: it holds nothing any more."""
        if self.deadlines is not None:
            self.deadlines.backlog_gone()
        self.writer.resume_writing()
        if self.policy.app is None:
            self.protocol.transport.congested(False)
        self.connection._wake_waiters()

    # -- closing

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake with any code (Autobahn's sendClose() refuses 1001, 1011, 1012 and others)."""
        if self.protocol.state == OPEN:
            self.protocol.sendCloseFrame(code=code, reasonUtf8=reason_bytes(reason))
            if not self.writer.corked:
                self.writer.flush()

    def closing(self) -> None:
        """A Close frame was sent."""
        self.writer.live = False
        self.connection._wake_waiters()
        self.timer().expect(self.policy.settings.close_timeout)
        self.reader.look_for_the_answer()

    def expect_the_end(self, seconds: float) -> None:
        """The other side should end the TCP connection within `seconds`; then it is ended here."""
        self.timer().expect(seconds)

    def close_slow_client(self) -> None:
        if self.writer.live:
            self.close(self.policy.settings.slow_client_code, "client reads too slowly")

    def app_failed(self, doing: str, error: BaseException) -> None:
        """Told to the operator, unless the client's message was bad or a mounted class could not send any more."""
        if isinstance(error, BadMessage):
            self.close(INVALID_PAYLOAD, "bad message")
        elif self.writer.live or not isinstance(error, Disconnected):
            self.policy.watcher.app_failed(self.connection, doing, error)
            self.close(INTERNAL_ERROR, "internal error")

    def broken(self, error: Exception) -> None:
        """Our own fault: this connection ends, the others do not notice."""
        self.policy.watcher.app_failed(self.connection, "reading", error)
        self.abort()

    def abort(self) -> None:
        native = self.writer.native
        if native is not None:
            self.writer.drop()
            self.protocol.droppedByMe = True
            native.abort()

    def close_transport(self, abort: bool) -> None:
        """Autobahn wants the TCP connection to end."""
        native = self.writer.native
        if native is None:
            return
        if abort:
            self.abort()
            return
        self.writer.flush()
        self.writer.descriptor = -1
        native.close()
        # A client that does not take the rest must not keep the socket for ever.
        self.timer().expect(self.policy.settings.close_timeout)

    # -- the end

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is lost."""
        if self.deadlines is not None:
            self.deadlines.clear()
        self.writer.lost()
        self.reader.lost()
        reason = CLEAN if exc is None else LOST
        try:
            self.protocol.connectionLost(reason)
        except Exception as error:
            self.policy.watcher.app_failed(self.connection, "closing", error)
        finally:
            if self.place is not None:  # a mounted class does not call its base
                WebSocketProtocol._connectionLost(self.protocol, reason)
            if self.policy.app is None:
                self.protocol.transport.lost()

    def ended(self, was_clean: bool, reason: str | None) -> None:
        """Autobahn: it is over. Says who closed and how, then tells the session, last of all."""
        connection, place = self.connection, self.place
        if place is not None:
            place.leave()
            self.place = None
        if connection.close_code is not None:
            return
        connection._ended(*self._verdict(was_clean, reason))
        if self.opened:
            self.policy.watcher.closed(connection, self.counts())
        if connection._work and self.policy.cancels_work:
            Abandoned(connection._work, self.policy.background, self.policy.wheel, self.policy.settings.disconnect_grace)
        if self.reader.waiting is None:
            self.close_session()
        elif isinstance(self.reader.waiting, Wait):
            self.reader.waiting.cancel()

    def _verdict(self, was_clean: bool, reason: str | None) -> tuple[int, str, str]:
        """Close code, reason, and who closed."""
        protocol = self.protocol
        ours = protocol.localCloseCode if protocol.closedByMe else None
        if ours is not None and (was_clean or protocol.failedByMe or protocol.wasCloseHandshakeTimeout):
            return ours, (protocol.localCloseReason or b"").decode("utf-8", "replace"), "server"
        if was_clean:
            code = protocol.remoteCloseCode
            return NO_STATUS if code is None else code, protocol.remoteCloseReason or "", "client"
        if ours is not None:
            return ours, "no closing handshake", "server"
        if protocol.droppedByMe:
            return ABNORMAL, protocol.wasNotCleanReason or "", "server"
        return ABNORMAL, "connection lost without a Close frame", "network"

    def close_session(self) -> None:
        """The connection is over, and the app has done what the session waited for."""
        session, self.session, self.reader.received = self.session, None, None
        if session is None:
            return
        if self.writer.deflate is not None:
            self.writer.deflate.release()
        connection = self.connection
        try:
            session.closed(connection.close_code or ABNORMAL, connection.close_reason)
        except Exception as error:
            self.policy.watcher.app_failed(connection, "closing", error)


class Asking:
    """The part of a wire that exists while a user's class decides about an opening handshake."""

    __slots__ = ("extensions", "refusals")

    def __init__(self, extensions: str, refusals: Refusing | None) -> None:
        self.extensions = extensions
        self.refusals = refusals
