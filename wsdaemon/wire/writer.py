"""The sending half of a wire: messages to frames to the transport. Frames of one read leave in one write, and the data
that waits for a slow client has a bound.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from operator import methodcaller
from typing import TYPE_CHECKING, Protocol

from ..core.slices import Slices
from .prepared import Prepared
from .shelf import Shelf

if TYPE_CHECKING:
    from .deflate.streams import Deflate
    from .policy import Flushed, WirePolicy
    from .whole import Whole

JOINED_BYTES = 64 * 1024
"""Frames are joined for one write up to this size; larger ones go to the transport side by side, without a copy."""

COPIED_BYTES = 16 * 1024
"""Header and payload are put into one object up to this size of payload; above it the copy costs more than a second piece."""

FLUSHED_AT_ONCE = 16
"""Connections that are written to between two looks at the clock."""


class Native(Protocol):
    """The part of an asyncio transport that is used here."""

    def write(self, data: bytes, /) -> None: ...

    def writelines(self, list_of_data: list[bytes], /) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def set_protocol(self, protocol: object, /) -> None: ...

    def get_protocol(self) -> object: ...

    def get_extra_info(self, name: str, /) -> object: ...

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Writer:
    """Frames on their way to one client.

    `native` is the loop's transport, None when it is lost. `queued`: the transport holds unsent bytes; `first_queued` is how many of them
    were the first. `descriptor` is the plain socket's file descriptor, -1 when writes must go through the transport (TLS, or closing).
    Frames wait in `out` until the end of the read that made them, or until the flusher's turn.

    The Reader's loop sets `corked`, and looks at `live`, `native` and `out`. The fan looks at `live`, `deflate`, `out`, `queued` and
    `descriptor`, calls `send_direct`, and counts in `messages_out` and `bytes_out`.
    """

    __slots__ = (
        "bytes_out", "corked", "deflate", "descriptor", "first_queued", "frame", "live", "messages_out", "native", "out", "out_size",
        "policy", "queued", "send_direct", "shelf", "wire",
    )  # fmt: skip

    def __init__(self, wire: Whole, policy: WirePolicy, native: Native, descriptor: int) -> None:
        self.wire = wire
        self.policy = policy
        self.native: Native | None = native
        self.descriptor = descriptor
        self.frame = policy.frames.frame
        self.send_direct = policy.frames.send
        self.live = False
        self.deflate: Deflate | None = None
        self.out: list[bytes] | None = None
        self.out_size = 0
        self.corked = False
        self.queued = False
        self.first_queued = 0
        self.shelf: Shelf | None = None
        self.messages_out = 0
        self.bytes_out = 0

    # -- messages

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """One message in one frame, compressed when that was agreed and the message is not small.

        If the client is slow, the result is an awaitable, else None. Raises ConnectionClosed if the connection is over.
        """
        if not self.live:
            raise self.wire.connection._closed_error()
        size = len(payload)
        deflate = self.deflate
        if deflate is None or size < deflate.threshold:
            compressed = False
        else:
            turns = self.policy.turns
            began = turns.now()
            compressed, payload = True, deflate.deflate(payload)
            turns.spend(turns.now() - began)
            if not deflate.watched:
                self.policy.resting.watch(deflate)
            size = len(payload)
        self.messages_out += 1
        opcode, frame = 1 if text else 2, self.frame  # into a local: CPython 3.11 does not specialise the call of an object in a slot
        if self.queued and self.policy.settings.slow_client.drops:
            self.put_aside(frame(opcode, payload, compressed))
            return None
        if size > COPIED_BYTES:
            for piece in self.policy.frames.pieces(opcode, payload, compressed):
                self.write(piece)
        elif not self.corked:
            self.write(frame(opcode, payload, compressed))
        else:  # as write() does, for the most frequent case: replies in a read
            data = frame(opcode, payload, compressed)
            if self.out is None:
                self.out = [data]
                self.out_size = len(data)
            else:
                self.out.append(data)
                self.out_size += len(data)
                if self.out_size > JOINED_BYTES:
                    self.flush()
        return self.wire.connection.writable() if self.queued else None

    def send_at_once(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """As send_payload(), for a message that came alone and is passed on: it is written in this turn, with a call of the system."""
        frame, busy = self.frame, self.corked or self.queued or self.out is not None
        if busy or self.descriptor < 0 or self.deflate is not None or len(payload) > COPIED_BYTES:
            return self._send_together(payload, text)
        if not self.live:
            raise self.wire.connection._closed_error()
        data, send = frame(1 if text else 2, payload), self.send_direct
        self.messages_out += 1
        sent = send(self.descriptor, data)
        if sent == len(data):
            self.bytes_out += sent
            return None
        self.write_rest(data, sent)
        return self.wire.connection.writable() if self.queued else None

    def _send_together(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """As send_at_once(), for all but the most frequent case: a message that is small, plain and the only one."""
        if self.corked:
            return self.send_payload(payload, text)
        self.corked = True
        try:
            self.send_payload(payload, text)
        finally:
            self.corked = False
            self.flush()
        return self.wire.connection.writable() if self.queued else None

    def prepare(self, payload: bytes, text: bool, key: object = None) -> Prepared:
        """A message that can be sent to any number of connections with send_prepared(); for `key` see Prepared."""
        return Prepared(payload, text, self.frame, self.policy.turns, key)

    def send_prepared(self, prepared: Prepared) -> None:
        """Send a message that goes to many. Nothing happens once the connection closes."""
        if not self.live:
            return
        deflate = self.deflate
        if deflate is None or prepared.size < deflate.threshold:
            data = prepared.plain
        else:
            data = prepared.compressed(deflate.parameters)
            deflate.forget_what_was_sent()
        self.messages_out += 1
        if self.queued and self.policy.settings.slow_client.drops:
            self.put_aside(data, prepared.key)
        else:
            self.write_now(data)

    def send_frame(self, frame: bytes) -> None:
        """A whole message in a frame that was made elsewhere. Nothing happens once the connection closes."""
        if not self.live:
            return
        self.messages_out += 1
        if self.queued and self.policy.settings.slow_client.drops:
            self.put_aside(frame)
        else:
            self.write(frame)

    # -- bytes

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave at the end of the current read, or in the loop's next turn."""
        out = self.out
        if out is None:
            self.out = [data]
            self.out_size = len(data)
            if not self.corked:
                self.policy.flusher.add(self)
        else:
            out.append(data)
            self.out_size += len(data)
        if self.out_size > JOINED_BYTES:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """Write bytes straight to the socket when nothing is before them, else as write()."""
        if self.out is None and not self.queued and self.descriptor >= 0:
            send = self.send_direct
            sent = send(self.descriptor, data)
            if sent == len(data):
                self.bytes_out += sent
            else:
                self.write_rest(data, sent)
        else:
            self.write(data)

    def write_rest(self, data: bytes, sent: int) -> None:
        """Give the transport the bytes that the socket did not take; `sent` is -1 when it failed, and then the transport finds out why."""
        self.bytes_out += len(data)
        if self.native is not None:
            self.native.write(data[sent:] if sent > 0 else data)
            if self.queued:
                self._check_backlog(self.native)

    def flush(self) -> None:
        """Write what is queued: straight to the socket when the transport holds nothing."""
        out = self.out
        if out is None:
            return
        self.out = None
        native = self.native
        if native is None:
            return
        self.bytes_out += self.out_size
        if self.out_size > JOINED_BYTES and len(out) > 1:
            native.writelines(out)
        else:
            data = out[0] if len(out) == 1 else b"".join(out)
            if self.descriptor >= 0 and not self.queued:
                send = self.send_direct
                sent = send(self.descriptor, data)
                if sent == len(data):
                    return
                if sent > 0:
                    data = data[sent:]
            native.write(data)
        if self.queued:
            self._check_backlog(native)

    def _check_backlog(self, native: Native) -> None:
        """Close a client for which too much waits besides the write that was the first to wait: that may be one message that is larger."""
        if native.get_write_buffer_size() > self.policy.settings.send_backlog + self.first_queued:
            self.wire.close_slow_client()

    # -- a client that is slow

    def pause_writing(self) -> None:
        """The transport, whose high-water mark is 0: something waits in it, so nothing may be written past it."""
        self.queued = True
        self.first_queued = 0 if self.native is None else self.native.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The transport: nothing waits any more."""
        self.queued = False
        shelf = self.shelf
        while shelf is not None and shelf.size and not self.queued and self.native is not None:  # it may take all at once, without a word
            self._take_from_shelf(shelf, JOINED_BYTES)

    def put_aside(self, frame: bytes, key: object = None) -> None:
        """A message for a slow client, on a mount that drops messages: it waits where it can still be dropped."""
        if self.out is not None:
            self.flush()
        if not self.live:  # that was too much for it: nothing may follow the Close frame
            return
        if self.shelf is None:
            settings = self.policy.settings
            self.shelf = Shelf(settings.send_backlog, settings.slow_client.keeps_latest)
        self.shelf.put(frame, key)

    def empty_shelf(self) -> None:
        """Write all that waits on the shelf: a Close frame is next, and nothing may follow that."""
        if self.shelf is not None:
            self._take_from_shelf(self.shelf, self.shelf.size)

    def _take_from_shelf(self, shelf: Shelf, least: int) -> None:
        frames = shelf.take(least) if self.native is not None else []
        if frames and self.native is not None:
            data = b"".join(frames)
            self.bytes_out += len(data)
            self.native.write(data)

    def leave_out_the_answer(self) -> None:
        """The bytes so far are the answer to the opening handshake. `bytes_out` counts frames, as the reader's `bytes_in` does."""
        self.bytes_out = 0 if self.out is None else -self.out_size

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than messages are sent to it: then a sender that can wait should."""
        return self.queued and self.native is not None and self.native.get_write_buffer_size() >= self.policy.high_water

    @property
    def taken(self) -> int:
        """Bytes that the system has taken from us so far. While something is `queued`, more of them show that the client takes them."""
        return self.bytes_out - (0 if self.native is None else self.native.get_write_buffer_size())

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        waiting = (self.out_size if self.out is not None else 0) + (self.shelf.size if self.shelf is not None else 0)
        return waiting + (self.native.get_write_buffer_size() if self.native is not None else 0)

    # -- the end

    def drop(self) -> None:
        """Forget what waits here: the transport is aborted, or lost. How many messages were dropped stays known."""
        self.live, self.descriptor, self.out = False, -1, None

    def lost(self) -> None:
        """The transport is lost."""
        self.drop()
        self.native = None
        if self.shelf is not None:
            self.shelf.take(self.shelf.size)  # an app may keep the connection for long


def make_flusher(call_soon: Callable[[Callable[[], None]], object], now: Callable[[], float] = time.perf_counter) -> Slices[Flushed]:
    """Writes, in the loop's next turn, the frames that connections were sent outside a read of their own: a burst leaves together."""
    return Slices(call_soon, methodcaller("flush"), FLUSHED_AT_ONCE, now)
