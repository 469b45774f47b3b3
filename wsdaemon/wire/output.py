"""The sending half of a wire: what leaves together leaves in one write, and a client that does not read has a bound."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .shelf import Shelf

JOIN = 64 * 1024
"""Bytes up to which what waits is joined for one write; larger pieces go to the transport side by side, without a copy."""

COPY = 16 * 1024
"""Bytes of payload up to which header and payload are put into one object; above that the copy costs more than a second piece."""

HIGH_WATER = 128 * 1024
"""Unsent bytes from which a sender that awaits has to wait, until all are gone, unless the mount says otherwise."""

SLICE = 0.002
"""Seconds of writing after which other connections have their turn."""


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


class Flusher:
    """Writes, in the loop's next turn, what connections were sent outside a read of their own: what comes in a burst leaves together.

    With many connections it stops every few milliseconds, so that a message to ten thousand members stalls nobody else.
    """

    __slots__ = ("_call_soon", "_dirty", "_now", "_scheduled")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], now: Callable[[], float] = time.perf_counter) -> None:
        self._call_soon = call_soon
        self._now = now
        self._dirty: deque[Output] = deque()
        self._scheduled = False

    def add(self, output: Output) -> None:
        self._dirty.append(output)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self.run)

    def run(self) -> None:
        dirty, now = self._dirty, self._now
        end = now() + SLICE
        try:
            while dirty:
                for _ in range(min(16, len(dirty))):
                    dirty.popleft().flush()
                if now() > end:
                    break
        finally:  # what went wrong with one must not leave the others waiting for ever
            self._scheduled = bool(dirty)
            if dirty:
                self._call_soon(self.run)


def no_direct_way(descriptor: int, data: bytes) -> int:
    """Nothing is sent: the transport takes it all. A mount's own class has the frame reader's send() instead."""
    return 0


class Output:
    """Frames on their way to one client.

    `native` is the loop's transport, None when it is gone; `queued` whether it holds unsent bytes, `first_queued` how many of them were the
    first; `descriptor` the plain socket's file descriptor, -1 when writes must go through the transport (TLS, or closing). Frames wait in
    `out` until the end of the read that made them, or until the flusher's turn.
    """

    __slots__ = ("bytes_out", "corked", "descriptor", "first_queued", "messages_out", "native", "out", "out_size", "queued", "shelf")

    flusher: Flusher
    send_backlog: int
    high_water: int
    """Unsent bytes from which a sender that can wait should. 0: as soon as there are any."""
    drops_messages: bool
    """The mount would rather drop messages than a slow connection."""
    keeps_latest: bool
    send_direct: Callable[[int, bytes], int] = staticmethod(no_direct_way)

    native: Native | None
    live: bool

    def __init__(self) -> None:
        self.native = None
        self.descriptor = -1
        self.out: list[bytes] | None = None
        self.out_size = 0
        self.corked = False
        self.queued = False
        self.first_queued = 0
        self.shelf: Shelf | None = None
        self.messages_out = 0
        self.bytes_out = 0

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave at the end of the current read, or in the loop's next turn."""
        out = self.out
        if out is None:
            self.out = [data]
            self.out_size = len(data)
            if not self.corked:
                self.flusher.add(self)
        else:
            out.append(data)
            self.out_size += len(data)
        if self.out_size > JOIN:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """Write bytes straight to the socket when nothing is before them, else as write()."""
        if self.out is None and not self.queued and self.descriptor >= 0:
            sent = self.send_direct(self.descriptor, data)
            if sent == len(data):
                self.bytes_out += sent
            else:
                self.write_rest(data, sent)
        else:
            self.write(data)

    def write_rest(self, data: bytes, sent: int) -> None:
        """Give the transport what the socket did not take; `sent` is -1 when it failed, and then the transport finds out why."""
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
        if self.out_size > JOIN and len(out) > 1:
            native.writelines(out)
        else:
            data = out[0] if len(out) == 1 else b"".join(out)
            if self.descriptor >= 0 and not self.queued:
                sent = self.send_direct(self.descriptor, data)
                if sent == len(data):
                    return
                if sent > 0:
                    data = data[sent:]
            native.write(data)
        if self.queued:
            self._check_backlog(native)

    def _check_backlog(self, native: Native) -> None:
        """See whether too much waits besides the write that was the first to wait: that may be one message that is larger."""
        if native.get_write_buffer_size() > self.send_backlog + self.first_queued:
            self.too_slow()

    def put_aside(self, frame: bytes, key: object = None) -> None:
        """A message for a client that is slow, on a mount that drops messages: it waits where it can still be dropped."""
        if self.out is not None:
            self.flush()
        if not self.live:  # that was too much for it: nothing may follow the Close frame
            return
        if self.shelf is None:
            self.shelf = Shelf(self.send_backlog, self.keeps_latest)
        self.shelf.put(frame, key)

    def _take_from_shelf(self, least: int) -> None:
        if self.shelf is not None and self.native is not None:
            frames = self.shelf.take(least)
            if frames:
                data = b"".join(frames)
                self.bytes_out += len(data)
                self.native.write(data)

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than it is sent: then a sender that can wait should."""
        return self.queued and self.native is not None and self.native.get_write_buffer_size() >= self.high_water

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        waiting = (self.out_size if self.out is not None else 0) + (self.shelf.size if self.shelf is not None else 0)
        return waiting + (self.native.get_write_buffer_size() if self.native is not None else 0)

    def too_slow(self) -> None:
        """More than `send_backlog` bytes wait for the client, or some for longer than `send_backlog_age`."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """The transport, whose high-water mark is 0: something waits in it, so nothing may be written past it."""
        self.queued = True
        self.first_queued = 0 if self.native is None else self.native.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The transport: nothing waits any more."""
        self.queued = False
        shelf = self.shelf
        while shelf is not None and shelf.size and not self.queued and self.native is not None:  # it may take all at once, without a word
            self._take_from_shelf(JOIN)
