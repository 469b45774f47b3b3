"""The receiving half of a wire: bytes to messages, in order, and no further than the app can follow.

Bytes are first offered to the frame reader (frames.py). Whole, valid, unfragmented frames are taken from there; anything else, and any
doubt, goes to Autobahn's own parser, byte for byte, which stays the authority on RFC 6455.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from autobahn.websocket.protocol import WebSocketProtocol

from ..core.closing import POLICY_VIOLATION, ConnectionClosed
from ..core.connection import READY
from .body import BODY, Body
from .deflate import CorruptMessage, Deflate, MessageTooBig
from .meter import Meter
from .pausing import Pause, Pausing
from .turns import SLICE

if TYPE_CHECKING:
    from ..core.connection import Connection
    from .frames import Partial
    from .policy import WirePolicy

OPEN = WebSocketProtocol.STATE_OPEN
CLOSED = WebSocketProtocol.STATE_CLOSED

MOST = 128
"""Frames taken in one pass: the most that a paused app can leave waiting, already read."""

PIECE = 1024
"""Bytes given to Autobahn's parser at once: it copies what it holds for each frame, so a long read of tiny frames would cost its square."""

LONG = 4096
"""Bytes of a read from which it has to wait while others have used up this turn of the loop."""

FULL = 256_000
"""Bytes of a read that filled the loop's buffer: the loop reads again at once, up to 32 times, before anybody else has a turn."""

BRIEF = SLICE / 10
"""Seconds that such a read may take. The beginning of a large message, which is only copied, takes less."""

CLOSE = 0x88
"""The first byte of a whole Close frame."""

COMPRESSED = 0x40
"""Added by the frame reader to the opcode of a compressed frame."""

LEAST_PAUSE = 0.001
"""Seconds: a smaller debt is left to be paid with the next."""


class Input(Pausing):
    """Reads frames and hands messages to the session, one after the other. `wire_received` is the session's method."""

    __slots__ = (
        "bytes_in",
        "messages_in",
        "partial",
        "payloads",
        "wire_connection",
        "wire_flags",
        "wire_received",
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
        self.partial: Partial | None = None
        self.messages_in = 0
        self.bytes_in = 0

    # -- from the transport

    def data_received(self, data: bytes) -> None:
        """The transport: bytes came. What is sent meanwhile leaves in one write at the end."""
        self.bytes_in += len(data)
        if len(data) >= LONG and self.wire_turns.used_up and self.partial is None:
            self.unread += data
            self._defer()
            return
        self.corked = True  # as wire_together() does; here one call less for each read
        began = self.wire_turns.now() if len(data) >= FULL else 0.0
        try:
            self.read(data)
            if began and self.wire_turns.now() - began > BRIEF:
                self._defer()
        except Exception as error:
            self.broken(error)
        finally:
            self.corked = False
            if self.out is not None:
                self.flush()

    def read(self, data: bytes) -> None:
        """Take every frame of `data`, or leave the rest where it is found again when the app is ready for it."""
        position, end = 0, len(data)
        mark = self.wire_turns.now() if end >= LONG else 0.0
        until = mark + SLICE
        while position < end:
            if position and mark:  # only what is long costs a look at the time
                now = self.wire_turns.now()
                self.wire_turns.spend(now - mark)
                mark = now
                if now > until:
                    self._defer()
            if self.wire_stopped:
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
                    self.heard = True
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
        """Let Autobahn's parser have the next piece; the new position."""
        turns = self.wire_turns
        if turns.used_up:
            self._defer()
            return position
        began = turns.now()
        frame = self.current_frame
        size = PIECE if frame is None else max(PIECE, frame.length - self.current_frame_masker.pointer())  # type: ignore[attr-defined]
        self._dataReceived(data[position : position + size])  # type: ignore[attr-defined]
        turns.spend(turns.now() - began)
        return min(position + size, len(data))

    # -- a frame that comes in pieces

    def _begin_partial(self, data: bytes, position: int) -> bool:
        """Whether the rest of `data` is the beginning of a frame that the frame reader will take; then it is taken."""
        partial = self.partial = self.begin(data, position, self.maximum, self.wire_flags)
        if partial is None:
            return False
        if partial.missing >= BODY and self.native is not None:
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
        began, often = self.wire_turns.now() if len(messages) > 2 else 0.0, False
        for position in range(0, len(messages), 2):
            if not self.live:  # we are closing: what came before the client's Close frame is dropped
                return
            if position and (often or position == 2 or not position & 31):
                took = self.wire_turns.now() - began
                if took > SLICE:
                    self._hold_back(messages, position)
                    return
                often = took * 32 > SLICE * position  # so far it is more than a sixteenth of a slice for each message
            opcode, payload = messages[position], messages[position + 1]
            if opcode > 2:
                if opcode < COMPRESSED:
                    self.control(opcode, payload)
                    continue
                if self.wire_turns.used_up:
                    self._hold_back(messages, position)
                    return
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

    def _hold_back(self, messages: list[Any], position: int) -> None:
        self.held = messages[position:]
        self._defer()

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
        self.heard = True
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
        turns = self.wire_turns
        began = turns.now()
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
        finally:
            turns.spend(turns.now() - began)
        return None

    def _read_held(self) -> None:
        held, self.held = self.held, None
        if held and self.live:
            self.deliver(held)
        if not self.wire_stopped and self.data:
            if self.current_frame is None and not self.inside_message:
                self.unread, self.data = self.data + self.unread, b""
            else:
                self.consumeData()
        if not self.wire_stopped:
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
