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
from ..core.slices import SLICE_SECONDS
from .autobahn.fallback import Fallback
from .body import BODY_BYTES, Body
from .deflate.streams import CorruptMessage, MessageTooBig
from .frames import COMPRESSED, TEXT
from .meter import Meter
from .waits import Pause, Wait

if TYPE_CHECKING:
    from .frames import Partial
    from .policy import WirePolicy
    from .whole import Whole
    from .writer import Writer

CLOSED = WebSocketProtocol.STATE_CLOSED

MAX_FRAMES_PER_PASS = 128
"""Frames taken in one pass: the most that a paused app can leave waiting, already read."""

LONG_READ_BYTES = 4096
"""A read of so many bytes has to wait while others have used up this turn of the loop."""

FULL_READ_BYTES = 256_000
"""A read of so many bytes filled the loop's buffer: the loop reads again at once, up to 32 times, before anybody else has a turn."""

BRIEF_SECONDS = SLICE_SECONDS / 10
"""Time that such a read may take. The beginning of a large message, which is only copied, takes less."""

WHOLE_TEXT = 0x81
"""The first byte of a whole text frame that is not compressed."""

CLOSE = 0x88
"""The first byte of a whole Close frame."""

LEAST_PAUSE_SECONDS = 0.001
"""A smaller debt is left to be paid with the next."""

TURN, OPENING, CLASS, APP, LEAVING = 1, 2, 4, 8, 16
"""Why nothing is read now, as bits: it is others' turn; onConnect() of a mounted class has not decided; the class has paused its transport;
the app wants to wait; the connection is about to go to another process. A connection that closes waits for none of the last three: only
for the client's Close frame."""


class Reader:
    """The loop's protocol of a connection. `received` is the session's method; it takes a payload unless `flags` has TEXT.

    When reading stops, the messages and bytes that were read stay in `held` and `unread`. `fallback` is set while Autobahn's parser
    holds a part of a frame or of a message, and always if it reads every frame. `waiting` is the app's future, or a Wait
    of ours. `heard`: bytes of the client came since it was pinged. `many`: the message that is delivered now is one of several of one read.
    """

    __slots__ = (
        "bytes_in", "fallback", "flags", "heard", "held", "many", "maximum", "messages_in", "meter", "partial", "policy", "received",
        "stops", "unread", "waiting", "whole", "wire", "writer",
    )  # fmt: skip

    def __init__(self, wire: Whole, policy: WirePolicy, writer: Writer) -> None:
        self.wire = wire
        self.policy = policy
        self.writer = writer
        self.whole = policy.frames.whole
        self.maximum = policy.settings.max_message
        self.received: Callable[..., Awaitable[object] | None] | None = None
        self.flags = 0
        self.fallback: Fallback | None = None
        self.partial: Partial | None = None
        self.stops = 0
        self.waiting: asyncio.Future[Any] | None = None
        self.held: list[Any] | None = None
        self.unread = b""
        self.heard = False
        self.many = False
        self.meter: Meter | None = None
        self.messages_in = 0
        self.bytes_in = 0

    # -- from the transport

    def data_received(self, data: bytes) -> None:
        """The transport: bytes came. Frames that are sent meanwhile leave in one write at the end."""
        size = len(data)
        self.bytes_in += size
        if size >= LONG_READ_BYTES:
            self._long_read(data, size)
            return
        writer = self.writer
        writer.corked = True  # as Wire.together() does; here one call less for each read
        try:
            if self.stops or self.partial is not None or self.fallback is not None or not writer.live:
                self.read(data)
            else:  # the most frequent case: one message and nothing else. read() would do the same
                whole = self.whole  # into a local: CPython 3.11 does not specialise the call of an object in a slot
                payload = whole(data, self.maximum, self.flags)
                if payload is None:
                    self.read(data)
                else:
                    self.hand_over(payload, data[0] == WHOLE_TEXT)
        except Exception as error:
            self.wire.broken(error)
        finally:
            writer.corked = False
            if writer.out is not None:
                writer.flush()

    def _long_read(self, data: bytes, size: int) -> None:
        turns = self.policy.turns
        if turns.used_up and self.partial is None:
            self.unread += data
            self.postpone()
            return
        began = turns.now() if size >= FULL_READ_BYTES else 0.0
        self.wire.together(lambda: self.read(data))
        if began and turns.now() - began > BRIEF_SECONDS:
            self.postpone()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire.connection_lost(exc)

    def pause_writing(self) -> None:
        self.wire.pause_writing()

    def resume_writing(self) -> None:
        self.wire.resume_writing()

    # -- from bytes to frames

    def read(self, data: bytes) -> None:
        """Take every frame of `data`, or leave the rest where it is found again when the app is ready for it."""
        position, end = 0, len(data)
        turns = self.policy.turns
        take = self.policy.frames.take
        mark = turns.now() if end >= LONG_READ_BYTES else 0.0
        until = mark + SLICE_SECONDS
        while position < end:
            if position and mark:  # only what is long costs a look at the time
                now = turns.now()
                turns.spend(now - mark)
                mark = now
                if now > until:
                    self.postpone()
            if self.stops:
                self.unread += data[position:] if position else data
                return
            if self.partial is not None:
                position = self._continue_partial(self.partial, data, position)
            elif self.fallback is not None or not self.writer.live:
                if self.wire.protocol.state == CLOSED:
                    return
                data, position = self._fall_back(data, position)
                end = len(data)
            else:
                messages, position = take(data, position, self.maximum, self.flags, MAX_FRAMES_PER_PASS)
                if messages:
                    if len(messages) == 2 and messages[0] < 3:  # type: ignore[operator]
                        self.hand_over(messages[1], messages[0] == 1)
                    else:
                        self.deliver(messages)
                elif data[position] == CLOSE and (after := self._take_close_frame(data, position)):
                    position = after
                elif self._begin_partial(data, position):
                    return
                else:
                    data, position = self._fall_back(data, position)
                    end = len(data)

    def _take_close_frame(self, data: bytes, position: int) -> int:
        """Let Autobahn judge a whole, masked Close frame without its parser; the position after it, 0 when it is anything but that."""
        if self.policy.frames.client:  # a server's is not masked, and so rare that the parser has it
            return 0
        length = data[position + 1] - 0x80 if position + 1 < len(data) else -1
        start = position + 6
        if length == 1 or not 0 <= length <= 125 or start + length > len(data):
            return 0
        mask = data[position + 2 : start]
        payload = bytes([byte ^ mask[index & 3] for index, byte in enumerate(data[start : start + length])])
        code = int.from_bytes(payload[:2], "big") if length else None
        self.wire.protocol.onCloseFrame(code, payload[2:] if length > 2 else None)
        return start + length

    def _fall_back(self, data: bytes, position: int) -> tuple[bytes, int]:
        """Let Autobahn's parser have the next piece of `data`; what is left of it, and the new position there."""
        turns = self.policy.turns
        if turns.used_up:
            self.postpone()
            return data, position
        if self.fallback is None:
            self.fallback = Fallback(self.wire.protocol, always=False)
        if self.writer.live and self.fallback.idle:  # it holds the beginning of a frame, which belongs in front
            data, self.fallback = self.fallback.take_back() + data[position:], None
            return data, 0
        began = turns.now()
        position = self.fallback.give(data, position)
        turns.spend(turns.now() - began)
        self.end_fallback()
        return data, position

    def end_fallback(self) -> None:
        """Autobahn's parser is done with what it was given: as a rule the frame reader goes on after it."""
        if self.fallback is not None and self.fallback.done:
            self.fallback = None

    # -- a frame that comes in pieces

    def _begin_partial(self, data: bytes, position: int) -> bool:
        """Whether the rest of `data` is the beginning of a frame that the frame reader will take; then it is taken."""
        partial = self.partial = self.policy.frames.begin(data, position, self.maximum, self.flags)
        if partial is None:
            return False
        native = self.writer.native
        if partial.missing >= BODY_BYTES and native is not None:
            native.set_protocol(Body(self))
        return True

    def _continue_partial(self, partial: Partial, data: bytes, position: int) -> int:
        position = partial.feed(data, position)
        self.body_grew(partial)
        return position

    def body_grew(self, partial: Partial) -> None:
        """More of the payload is there: deliver it when complete; let Autobahn see it when it is not valid UTF-8."""
        if not partial.valid:
            self.partial = None
            self.fallback = Fallback(self.wire.protocol, always=False)
            self.fallback.give_all(partial.replay())
            self.end_fallback()
        elif not partial.missing:
            self.partial = None
            self.deliver([partial.opcode, partial.message()])

    # -- to the app

    def deliver(self, messages: list[Any]) -> None:
        """Hand over [opcode, payload, opcode, payload, ...] until the app wants to wait or the connection closes."""
        self.heard = True
        self.many = len(messages) > 2
        received, payloads, writer = self.received, not self.flags & TEXT, self.writer
        turns = self.policy.turns
        began, often = turns.now() if len(messages) > 2 else 0.0, False
        for position in range(0, len(messages), 2):
            if not writer.live and self._drops():
                return
            if position and (often or position == 2 or not position & 31):
                took = turns.now() - began
                if took > SLICE_SECONDS:
                    self._hold_back(messages, position)
                    break
                often = took * 32 > SLICE_SECONDS * position  # so far it is more than a sixteenth of a slice for each message
            opcode, payload = messages[position], messages[position + 1]
            if opcode > 2:
                if opcode < COMPRESSED:
                    self.control(opcode, payload)
                    continue
                if turns.used_up:
                    self._hold_back(messages, position)
                    break
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
                break
        self.many = False  # the returns above leave it: nothing is delivered after them
        if self.meter is not None:
            self._pay(self.meter)

    def _drops(self) -> bool:
        """After our Close frame: whether messages are dropped until the other side's Close frame comes.

        A server drops them, because its app has ended. A client that closes by itself takes them: the server may have sent them before it
        saw the Close frame (RFC 6455 section 5.5.1).
        """
        return not self.policy.frames.client or self.wire.protocol.failedByMe

    def hand_over(self, payload: Any, text: bool) -> None:
        """Give one message to the session."""
        self.heard = True
        self.messages_in += 1
        received = self.received
        try:
            result = received(payload) if self.flags & TEXT else received(payload, text)  # type: ignore[misc]
        except Exception as error:
            self._refused(error)
        else:
            if result is not None and result is not READY:
                self._hold(result, None)
        if self.meter is not None:
            self._pay(self.meter)

    def parsed(self, payload: bytes, binary: bool) -> None:
        """One message that came by way of Autobahn's parser."""
        if self.writer.live or not self._drops():
            self.hand_over(payload.decode() if self.flags & TEXT and not binary else payload, not binary)

    def control(self, opcode: int, payload: bytes) -> None:
        """A ping or a pong."""
        self.heard = True
        policy, absence = self.policy, self.policy.wheel.absence
        if self.meter is None and policy.settings.control_frames_per_second:
            self.meter = Meter.of(policy.settings, absence.time())
        if self.meter is not None and not self.meter.spend_control(absence.time(), absence.grace()):
            self.wire.close(POLICY_VIOLATION, "too many control frames")
        elif opcode == 9:
            self.wire.protocol._onPing(payload)
        else:
            self.wire.protocol._onPong(payload)

    def _refused(self, error: Exception) -> None:
        """The session raised: its fault, unless it only tried to send on a connection that is closing."""
        if not isinstance(error, ConnectionClosed):
            self.wire.app_failed("receiving a message", error)

    def _inflated(self, opcode: int, payload: bytes) -> Any:
        """The message of one compressed frame; None when it failed the connection."""
        deflate, turns, protocol = self.writer.deflate, self.policy.turns, self.wire.protocol
        assert deflate is not None
        began = turns.now()
        try:
            message: Any = deflate.inflate(payload, self.maximum)
            if opcode == 1:
                if self.flags & TEXT:
                    message = message.decode()
                elif not message.isascii():
                    message.decode()
        except MessageTooBig:
            protocol._max_message_size_exceeded(self.maximum, self.maximum, f"message of more than {self.maximum} bytes")
        except CorruptMessage as error:
            protocol._invalid_payload(f"message cannot be decompressed: {error}")
        except UnicodeDecodeError:
            protocol._invalid_payload("text message is not valid UTF-8")
        else:
            return message
        finally:
            turns.spend(turns.now() - began)
        return None

    # -- to read no further for now

    def _pay(self, meter: Meter) -> None:
        """A client that sends faster than it may is read more slowly, or sent away."""
        if not meter.counts_messages:
            return
        policy, absence = self.policy, self.policy.wheel.absence
        debt = meter.spend(self.messages_in, self.bytes_in, absence.time(), absence.grace())
        if debt > LEAST_PAUSE_SECONDS and self.writer.live:
            if policy.settings.over_rate == "close":
                self.wire.close(POLICY_VIOLATION, "too many messages")
            elif self.waiting is None:
                self._hold(Pause(debt), self.held)

    def _hold(self, awaitable: Awaitable[object], messages: list[Any] | None) -> None:
        """Read no further until `awaitable` is done."""
        if isinstance(awaitable, Deferred):
            awaitable = awaitable.asFuture(asyncio.get_running_loop())
        self.held = messages
        self.waiting = asyncio.ensure_future(awaitable)
        if not isinstance(awaitable, Wait):
            # A future of the app may be waited for by others, too, but a task that was made here has this connection alone.
            self.policy.background.add(self.waiting, self.wire.connection, own=self.waiting is not awaitable)
        self.waiting.add_done_callback(self._go_on_after)
        if self.writer.live:
            self.stop(APP)

    def _go_on_after(self, done: asyncio.Future[Any]) -> None:
        """The app is ready for more."""
        self.waiting = None
        self.stops &= ~APP
        self.heard = True  # bytes that the client sent meanwhile, perhaps a pong, are not read yet
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            self.wire.app_failed("receiving a message", error)
        if self.writer.native is None:
            self.wire.close_session()
        else:
            self.go_on()

    def stop(self, why: int) -> None:
        """Read nothing until go_on() is called without that bit."""
        self.stops |= why
        if self.writer.native is not None:
            self.writer.native.pause_reading()

    def _hold_back(self, messages: list[Any], position: int) -> None:
        self.held = messages[position:]
        self.postpone()

    def postpone(self) -> None:
        """Read on in a later turn of the loop."""
        if not self.stops & TURN and self.writer.native is not None:
            self.stop(TURN)
            self.policy.turns.add(self)

    def read_on(self) -> None:
        """It is this connection's turn again."""
        self.go_on(TURN)

    def go_on(self, over: int = 0) -> None:
        """Read what waits, and then the transport, unless there is something else to wait for. `over` is the bit that has ended."""
        self.stops &= ~over
        if self.writer.native is None or self.stops:
            return
        self.wire.together(self._catch_up)
        if self.writer.native is not None and not self.stops:
            self.writer.native.resume_reading()

    def _catch_up(self) -> None:
        if self.meter is not None:  # an app that always wants to wait must not hide that its client is too fast
            self._pay(self.meter)
        if not self.stops:
            self._read_held()

    def _read_held(self) -> None:
        held, self.held = self.held, None
        if held and self.writer.live:
            self.deliver(held)
        if not self.stops and self.fallback is not None:  # Autobahn's parser stopped in the middle of what it had
            if self.writer.live and self.fallback.idle:
                self.unread, self.fallback = self.fallback.take_back() + self.unread, None
            else:
                self.fallback.go_on()
                self.end_fallback()
        if not self.stops:
            unread, self.unread = self.unread, b""
            self.read(unread)

    # -- the end

    def look_for_the_answer(self) -> None:
        """A Close frame was sent. Messages before the client's Close frame are dropped, so a waiting app must not delay that."""
        stopped, self.stops = self.stops & (APP | CLASS | LEAVING), self.stops & ~(APP | CLASS | LEAVING)
        if stopped and self.writer.native is not None:
            self.held = None
            self._read_held()
            if not self.stops and self.writer.native is not None:
                self.writer.native.resume_reading()

    def lost(self) -> None:
        """The transport is lost."""
        self.partial, self.held, self.unread = None, None, b""
