"""The receiving half of a wire: bytes to messages, in order, and no further than the app can follow.

Bytes are first offered to the frame reader (frames.py). Whole, valid, unfragmented frames are taken from there; anything else, and any
doubt, goes to Autobahn's own parser, byte for byte, which stays the authority on RFC 6455.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.defer import Deferred

from ..core.closing import POLICY_VIOLATION, ConnectionClosed
from ..core.connection import READY
from .deflate import CorruptMessage, Deflate, MessageTooBig
from .meter import Meter
from .output import Output

if TYPE_CHECKING:
    from ..core.connection import Connection
    from .frames import Partial
    from .policy import WirePolicy

OPEN = WebSocketProtocol.STATE_OPEN
CLOSED = WebSocketProtocol.STATE_CLOSED

MOST = 128
"""Frames taken in one pass: the most that a paused app can leave waiting, already read."""

SLICE = 4096
"""Bytes given to Autobahn's parser at once: it copies what it holds for each frame, so a long read of tiny frames would cost its square."""

BODY = 64 * 1024
"""Missing bytes from which a frame's payload is received straight into the message."""

TAIL = 4096
"""Bytes at a payload's end that are received the usual way again."""

CLOSE = 0x88
"""The first byte of a whole Close frame."""

COMPRESSED = 0x40
"""Added by the frame reader to the opcode of a compressed frame."""

LEAST_PAUSE = 0.001
"""Seconds: a smaller debt is left to be paid with the next."""


class Pause(asyncio.Future[None]):
    """Done after some seconds. Unlike what an app waits for it may be cancelled, when the connection is over before."""

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop=loop)
        self._timer = loop.call_later(seconds, self._passed)

    def _passed(self) -> None:
        if not self.done():
            self.set_result(None)

    def cancel(self, msg: object = None) -> bool:
        self._timer.cancel()
        return super().cancel()


class Input(Output):
    """Reads frames and hands messages to the session, one after the other.

    `received` is the session's method; while `waiting` (what it returned last) is not done, nothing more is read from the transport, and
    what had been read already stays in `held` (messages) and `unread` (bytes).
    """

    __slots__ = (
        "bytes_in",
        "heard",
        "held",
        "live",
        "messages_in",
        "meter",
        "partial",
        "payloads",
        "unread",
        "wire_connection",
        "wire_flags",
        "wire_received",
        "wire_waiting",
    )

    # of the mount, as class attributes
    wire_policy: WirePolicy
    fast: bool
    take: Callable[[bytes, int, int, int, int], tuple[list[Any], int]]
    begin: Callable[[bytes, int, int, int], Partial | None]
    frame: Callable[[int, bytes, bool], bytes]
    header: Callable[[int, int, bool], bytes]
    maximum: int

    # of Autobahn
    state: int
    data: Any
    current_frame: Any
    inside_message: bool
    _perMessageCompress: Deflate | None

    def __init__(self) -> None:
        super().__init__()
        self.wire_connection: Connection | None = None
        self.wire_received: Callable[..., Awaitable[object] | None] | None = None
        self.payloads = False
        self.wire_flags = 0
        self.live = False
        self.heard = False
        self.partial: Partial | None = None
        self.wire_waiting: asyncio.Future[Any] | None = None
        self.held: list[Any] | None = None
        self.unread = b""
        self.messages_in = 0
        self.bytes_in = 0
        self.meter: Meter | None = None

    # -- from the transport

    def data_received(self, data: bytes) -> None:
        """The transport: bytes came. What is sent meanwhile leaves in one write at the end."""
        self.heard = True
        self.bytes_in += len(data)
        self.corked = True
        try:
            self.read(data)
        except Exception as error:
            self.broken(error)
        finally:
            self.corked = False
            if self.out is not None:
                self.flush()

    def read(self, data: bytes) -> None:
        """Take every frame of `data`, or leave the rest where it is found again when the app is ready for it."""
        position, end = 0, len(data)
        while position < end:
            if self.wire_waiting is not None and self.live:
                self.unread += data[position:] if position else data
                return
            if self.partial is not None:
                position = self._continue_partial(self.partial, data, position)
            elif self.live and self.fast and self.current_frame is None and not self.inside_message:
                if self.data:  # the beginning of a frame that Autobahn holds: it belongs in front
                    data = self.data + data[position:]
                    self.data = b""
                    position, end = 0, len(data)
                messages, position = self.take(data, position, self.maximum, self.wire_flags, MOST)
                if messages:
                    self.deliver(messages)
                    if self.meter is not None:
                        self._pay(self.meter)
                elif data[position] == CLOSE and (after := self._take_close_frame(data, position)):
                    position = after
                elif not self._begin_partial(data, position):
                    position = self._give_to_autobahn(data, position)
                else:
                    return
            elif self.state == CLOSED:
                return
            else:
                position = self._give_to_autobahn(data, position)

    def _take_close_frame(self, data: bytes, position: int) -> int:
        """Let Autobahn judge a whole, masked Close frame without its parser; the position after it, 0 when it is anything but that."""
        length = data[position + 1] - 0x80 if position + 1 < len(data) else -1
        start = position + 6
        if length == 1 or not 0 <= length <= 125 or start + length > len(data):
            return 0
        mask = data[position + 2 : start]
        payload = bytes([byte ^ mask[index & 3] for index, byte in enumerate(data[start : start + length])])
        code = int.from_bytes(payload[:2], "big") if length else None
        self.onCloseFrame(code, payload[2:] if length > 2 else None)  # type: ignore[attr-defined]
        return start + length

    def _give_to_autobahn(self, data: bytes, position: int) -> int:
        """Let Autobahn's parser have the next slice; the new position."""
        frame = self.current_frame
        size = SLICE if frame is None else max(SLICE, frame.length - self.current_frame_masker.pointer())  # type: ignore[attr-defined]
        self._dataReceived(data[position : position + size])  # type: ignore[attr-defined]
        return min(position + size, len(data))

    # -- a frame that comes in pieces

    def _begin_partial(self, data: bytes, position: int) -> bool:
        """Whether the rest of `data` is the beginning of a frame that the frame reader will take; then it is taken."""
        partial = self.partial = self.begin(data, position, self.maximum, self.wire_flags)
        if partial is None:
            return False
        # Not over TLS: what is decrypted already must not wait for the next bytes from the network while the protocol is changed.
        if partial.missing >= BODY and self.native is not None and not self.wire_connection.handshake.secure:  # type: ignore[union-attr]
            self.native.set_protocol(Body(self))
        return True

    def _continue_partial(self, partial: Partial, data: bytes, position: int) -> int:
        position = partial.feed(data, position)
        self.body_grew(partial)
        return position

    def body_grew(self, partial: Partial) -> None:
        """More of the payload is there: deliver it when complete; let Autobahn see it when it is not valid UTF-8."""
        if not partial.valid:
            self.partial = None
            self._dataReceived(partial.replay())  # type: ignore[attr-defined]
        elif not partial.missing:
            self.partial = None
            self.deliver([partial.opcode, partial.message()])
            if self.meter is not None:
                self._pay(self.meter)

    # -- to the app

    def deliver(self, messages: list[Any]) -> None:
        """Hand over [opcode, payload, opcode, payload, ...] until the app wants to wait or the connection closes."""
        received, payloads, position = self.wire_received, self.payloads, 0
        for position in range(0, len(messages), 2):
            if not self.live:  # we are closing: what came before the client's Close frame is dropped
                return
            opcode, payload = messages[position], messages[position + 1]
            if opcode > 2:
                if opcode < COMPRESSED:
                    self.control(opcode, payload)
                    continue
                opcode &= 0xF
                payload = self._inflated(opcode, payload)
                if payload is None:
                    return
            self.messages_in += 1
            try:
                result = received(payload, opcode == 1) if payloads else received(payload)  # type: ignore[misc]
            except Exception as error:
                self._refused(error)
                continue
            if result is not None and result is not READY:
                self._hold(result, messages[position + 2 :])
                return

    def _pay(self, meter: Meter) -> None:
        """A client that sends faster than it may is read more slowly, or sent away."""
        if not meter.messages_count:
            return
        policy = self.wire_policy
        debt = meter.spend(self.messages_in, self.bytes_in, policy.wheel.time())
        if debt > LEAST_PAUSE and self.live:
            if policy.over_rate == "close":
                self.close(POLICY_VIOLATION, "too many messages")
            elif self.wire_waiting is None:
                self._hold(Pause(debt), self.held or [])

    def hand_over(self, payload: Any, text: bool) -> None:
        """Give one message that came by way of Autobahn's parser to the session."""
        self.messages_in += 1
        try:
            result = self.wire_received(payload, text) if self.payloads else self.wire_received(payload)  # type: ignore[misc]
        except Exception as error:
            self._refused(error)
        else:
            if result is not None and result is not READY:
                self._hold(result, [])
            elif self.meter is not None:
                self._pay(self.meter)

    def close(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def _refused(self, error: Exception) -> None:
        """The session raised: its fault, unless it only tried to send on a connection that is closing."""
        if not isinstance(error, ConnectionClosed):
            self.app_failed("receiving a message", error)

    def _inflated(self, opcode: int, payload: bytes) -> Any:
        """The message of one compressed frame; None when it failed the connection."""
        assert self._perMessageCompress is not None
        try:
            message: Any = self._perMessageCompress.inflate(payload, self.maximum)
            if opcode == 1:
                if not self.payloads:
                    message = message.decode()
                elif not message.isascii():
                    message.decode()
        except MessageTooBig:
            self._max_message_size_exceeded(self.maximum, self.maximum, f"message of more than {self.maximum} bytes")  # type: ignore[attr-defined]
        except CorruptMessage as error:
            self._invalid_payload(f"message cannot be decompressed: {error}")  # type: ignore[attr-defined]
        except UnicodeDecodeError:
            self._invalid_payload("text message is not valid UTF-8")  # type: ignore[attr-defined]
        else:
            return message
        return None

    def _hold(self, awaitable: Awaitable[object], messages: list[Any]) -> None:
        """Read no further until `awaitable` is done."""
        if isinstance(awaitable, Deferred):
            awaitable = awaitable.asFuture(asyncio.get_running_loop())
        self.held = messages
        self.wire_waiting = asyncio.ensure_future(awaitable)
        self.wire_waiting.add_done_callback(self._go_on)
        if self.native is not None and self.live:
            self.native.pause_reading()

    def _go_on(self, done: asyncio.Future[Any]) -> None:
        """The app is ready for more."""
        self.wire_waiting = None
        self.heard = True  # what the client sent meanwhile, an answer to a ping maybe, is not read yet
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            self.app_failed("receiving a message", error)
        if self.native is None:
            self.closed_last()
            return
        self.corked = True
        try:
            if self.meter is not None:  # an app that always wants to wait must not hide that its client is too fast
                self._pay(self.meter)
            if self.wire_waiting is None:
                self._read_held()
        except Exception as problem:
            self.broken(problem)
        finally:
            self.corked = False
            if self.out is not None:
                self.flush()
        if self.wire_waiting is None and self.native is not None:
            self.native.resume_reading()

    def _read_held(self) -> None:
        held, self.held = self.held, None
        if held and self.live:
            self.deliver(held)
        if self.wire_waiting is None and self.data:
            if self.current_frame is None and not self.inside_message:
                self.unread, self.data = self.data + self.unread, b""
            else:
                self.consumeData()
        if self.wire_waiting is None:
            unread, self.unread = self.unread, b""
            self.read(unread)

    def consumeData(self) -> None:
        """Autobahn's loop over what it holds, which also stops while the app wants to wait."""
        if self.state in (OPEN, WebSocketProtocol.STATE_CLOSING):
            while (self.wire_waiting is None or not self.live) and self.processData() and self.state != CLOSED:  # type: ignore[attr-defined]
                pass
        else:
            super().consumeData()  # type: ignore[misc]

    # -- what the wire does about it

    def control(self, opcode: int, payload: bytes) -> None:
        raise NotImplementedError

    def app_failed(self, doing: str, error: BaseException) -> None:
        raise NotImplementedError

    def broken(self, error: Exception) -> None:
        raise NotImplementedError

    def closed_last(self) -> None:
        raise NotImplementedError


class Body(asyncio.BufferedProtocol):
    """Stands in for the wire while a large payload comes, so that the transport receives it straight into the message."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Input) -> None:
        self._wire = wire

    def get_buffer(self, sizehint: int) -> memoryview:
        # All but the end, which comes the usual way: the loop still holds this buffer when buffer_updated() is called, and the message
        # cannot be made without a copy before it has let go.
        assert self._wire.partial is not None
        return self._wire.partial.room(TAIL)

    def buffer_updated(self, nbytes: int) -> None:
        wire, partial = self._wire, self._wire.partial
        assert partial is not None
        wire.heard = True
        wire.bytes_in += nbytes
        wire.corked = True
        try:
            partial.received(nbytes)
            if partial.missing <= TAIL or not partial.valid:
                if wire.native is not None:
                    wire.native.set_protocol(wire)
                wire.body_grew(partial)
        except Exception as error:
            wire.broken(error)
        finally:
            wire.corked = False
            if wire.out is not None:
                wire.flush()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.connection_lost(exc)  # type: ignore[attr-defined]

    def pause_writing(self) -> None:
        self._wire.pause_writing()

    def resume_writing(self) -> None:
        self._wire.resume_writing()
