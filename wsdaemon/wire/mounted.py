"""An existing Autobahn `WebSocketServerProtocol` subclass, served unchanged on this project's transports and limits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from ..core.closing import may_be_sent
from ..core.connection import Connection
from ..core.handshake import Handshake
from .output import Native
from .protocol import CLEAN, CONNECTING, OPEN, Wire

if TYPE_CHECKING:
    from ..core.registry import Place
    from .policy import Refusing
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

    def expiring(self, seconds: float) -> None:
        """`onExpiring(seconds)` is no callback of Autobahn's: a class has it that wants to know."""
        protocol = self._protocol
        on_expiring = getattr(protocol, "onExpiring", None)
        outcome = None if on_expiring is None else awaitable(on_expiring(seconds))
        if outcome is not None:
            protocol.in_background(outcome, "warning the client")

    def closed(self, code: int, reason: str) -> None:
        protocol = self._protocol
        outcome = awaitable(protocol.onClose(protocol.wasClean, code, reason))
        if outcome is not None:
            protocol.in_background(outcome, "closing")


def awaitable(result: Any) -> Awaitable[Any] | None:
    """What an Autobahn callback returned, if it can be waited for: stock Autobahn never awaits an `async def onMessage`."""
    if inspect.iscoroutine(result):
        return _of_either_world(result)
    return result if inspect.isawaitable(result) or isinstance(result, Deferred) else None


async def _of_either_world(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that may await Twisted's Deferreds and asyncio's futures alike: a task of asyncio alone refuses a Deferred."""
    return await _Either(coroutine)


class _Either:
    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            try:
                if isinstance(awaited, Deferred):
                    yield from _fired(awaited)
                    value = None
                else:
                    value = yield awaited
                step = self._coroutine.send
            except BaseException as error:  # a cancellation, too, is the coroutine's own
                step, value = self._coroutine.throw, error


def _fired(deferred: Deferred[Any]) -> Generator[Any, Any, None]:
    """Wait until `deferred` has a result; the coroutine that awaits it takes the result from it by itself."""
    future = asyncio.get_running_loop().create_future()

    def fired(result: Any) -> Any:
        if not future.done():
            future.set_result(None)
        return result

    deferred.addBoth(fired)
    yield from future


def reported(on_connect: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A class's onConnect(), whose exceptions are told to the operator; the client learns only that there was one."""

    def onConnect(self: AutobahnWire, request: ConnectionRequest) -> Any:
        answer: Deferred[Any] = maybeDeferred(_connect, on_connect, self, request)
        return answer.addErrback(self.cannot_connect)

    return onConnect


def _connect(on_connect: Callable[[Any, Any], Any], wire: AutobahnWire, request: ConnectionRequest) -> Any:
    answer = on_connect(wire, request)
    return Deferred.fromFuture(asyncio.ensure_future(_of_either_world(answer))) if inspect.iscoroutine(answer) else answer


def checked_answer(answer: Any, offered: Sequence[str]) -> tuple[str | None, dict[str, list[str]]]:
    """Subprotocol and headers that onConnect() answers. ValueError or TypeError for what cannot be answered."""
    protocol, headers = (*answer, None, None)[: max(2, len(answer))] if isinstance(answer, tuple) else (answer, None)
    if protocol is not None and protocol not in offered:
        raise ValueError(f"onConnect chose the subprotocol {protocol!r}, the client offers {list(offered)!r}")
    lines: dict[str, list[str]] = {}
    for name, value in dict(headers or {}).items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        lines[name] = [str(one) for one in values]
        check_header(name, *lines[name])
    return protocol, lines


def check_header(name: str, *values: str) -> None:
    """ValueError for what would not stay on a line of its own in an answer."""
    if any(character in text for text in (name, *values) for character in "\r\n\0"):
        raise ValueError(f"onConnect gave a header that would break out of its line: {name!r}")


def request_head(handshake: Handshake) -> bytes:
    """The request for Autobahn to read, from the handshake: what admission took out of that, a token for one, is not there either.

    Autobahn cuts lines where str.splitlines() does: within a character of UTF-8 whose last byte is 0x85, too. Our reader does not.
    """
    lines = [name + b": " + value for name, value in handshake.headers.raw]
    return b"\r\n".join([f"GET {handshake.target} HTTP/1.1".encode("latin-1"), *lines, b"", b""]).replace(b"\x85", b"?")


class AutobahnWire(Wire):
    """The base under a user's class: what it inherits from Autobahn is as stock sets it up, what it relies on is ours."""

    _offered: str
    """Sec-WebSocket-Extensions of the request."""
    wire_refusals: Refusing | None = None

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

    def open(
        self, native: Native, descriptor: int, handshake: Handshake, place: Place, *, key: str, extensions: str, time_left: float,
        refusals: Refusing | None,
    ) -> None:  # fmt: skip
        self._attach(native, descriptor, handshake, place)
        peer = handshake.peer
        self.peer = f"tcp{6 if ':' in peer.host else 4}:{peer.host}:{peer.port}" if peer.port else "unix"
        self._transport_details = TransportDetails(
            channel_type=TransportDetails.CHANNEL_TYPE_TLS if handshake.secure else TransportDetails.CHANNEL_TYPE_TCP,
            channel_framing=TransportDetails.CHANNEL_FRAMING_WEBSOCKET,
            peer=self.peer,
            is_server=True,
            is_secure=handshake.secure,
        )
        self.transport = TwistedTransport(self, handshake.peer, handshake.local)
        self._offered, self.wire_refusals = extensions, refusals
        self.data = request_head(handshake)
        native.pause_reading()  # until onConnect() has decided, which may take a while
        self.wire_policy.wheel.set(self, time_left)
        self.wire_together(partial(self.wire_connect, self._transport_details))

    def wire_connect(self, details: TransportDetails) -> None:
        self.connectionMade()
        self._transport_details = details
        self.processHandshake()

    def succeedHandshake(self, res: Any) -> None:
        """onConnect() let the client in; `res` is None, a subprotocol, or a pair of subprotocol and headers."""
        if self.state != CONNECTING or self.native is None:
            return
        try:
            protocol, given = checked_answer(res, self.websocket_protocols)
        except (TypeError, ValueError) as error:
            self.app_failed("opening", error)
            self.failHandshake("internal error", 500)
            return
        headers: dict[str, Any] = {**self.wire_policy.response_headers, **given}
        self.websocket_extensions: list[Any] = []
        self._agree_on_extensions(self._offered, headers)
        super().succeedHandshake((protocol, headers))
        self.wire_go_on()

    def onOpenHandshakeTimeout(self) -> None:
        """onConnect() has not answered in time."""
        self._count_refusal("handshake_timeout", "")
        super().onOpenHandshakeTimeout()

    def _count_refusal(self, why: str, detail: str) -> None:
        if self.wire_refusals is not None and self.wire_connection is not None:
            handshake = self.wire_connection.handshake
            self.wire_refusals.add(why, handshake.peer, detail, mount=handshake.mount)

    def cannot_connect(self, failure: Failure) -> Failure:
        """onConnect() raised."""
        if isinstance(failure.value, ConnectionDeny):
            return failure
        assert failure.value is not None
        self.app_failed("opening", failure.value)
        return Failure(ConnectionDeny(ConnectionDeny.INTERNAL_SERVER_ERROR, "internal error"))

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """onConnect() refused: a whole answer, with a body and its length."""
        given = [(str(name), str(value)) for name, value in responseHeaders or ()]
        try:
            for name, value in given:
                check_header(name, value)
        except ValueError as error:
            self.app_failed("opening", error)
            code, reason, given = 500, "internal error", []
        self._count_refusal("on_connect", f": {code}")
        text = " ".join((reason or "").split()) or "refused"
        body = f"{text}\n".encode("utf-8", "replace")
        lines = [f"HTTP/1.1 {code} {text.encode('ascii', 'replace').decode()}", "Content-Type: text/plain; charset=utf-8"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", *(f"{name}: {value}" for name, value in given)]
        self.write("\r\n".join([*lines, "", ""]).encode() + body)
        if not self.corked:
            self.flush()

    def _onOpen(self) -> None:
        super()._onOpen()
        if self.end_at <= self.wire_policy.wheel.time():  # its token ended while onConnect() was thinking
            self.close(*self.end_with)
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
        self.wire_ponged(payload)
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

    @property
    def wire_stopped(self) -> bool:
        """Also until onConnect() has decided, and while the class has paused its transport."""
        return super().wire_stopped or self.state == CONNECTING or (self.live and self.transport.reading_paused)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.congested(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.congested(False)

    def app_failed(self, doing: str, error: BaseException) -> None:
        """As for any app; that a message could not be sent any more is no failure of the class."""
        if self.live or not isinstance(error, Disconnected):
            super().app_failed(doing, error)

    def connectionMade(self) -> None:
        """Called for a class that overrides it. What stock does here was done already."""

    def _connectionMade(self) -> None:
        """Where a class gets to that calls WebSocketServerProtocol.connectionMade(self)."""

    def connectionLost(self, reason: Failure = CLEAN) -> None:
        """Called for a class that overrides it, as Autobahn's own example of a broadcast does to forget a client."""
        self._connectionLost(reason)

    def _connectionLost(self, reason: Failure) -> None:
        super()._lost(reason)

    def _lost(self, reason: Failure) -> None:
        try:
            self.connectionLost(reason)
        except Exception as error:
            assert self.wire_connection is not None
            self.wire_policy.watcher.app_failed(self.wire_connection, "closing", error)
        finally:
            if self.wire_place is not None:  # the class does not call its base
                super()._lost(reason)
            self.transport.gone()
