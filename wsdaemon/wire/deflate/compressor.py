"""Compresses messages within a bounded time.

An input can be constructed that costs zlib fifty times the usual, and a client can send it compressed. A period that is longer than our
window and shorter than the client's is 7 KB, and zlib takes a tenth of a second to compress it again, as 1 MiB: it walks long chains of
equal hashes. The output does not show the cost, because such an input compresses as well as JSON. Therefore zlib gets a long message in
pieces, and the processor's clock is read after each. Once the time is used up, the rest of the message is stored (RFC 1951 3.2.4), which
is a copy.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

from .negotiation import DeflateParameters

MESSAGE_SECONDS = 0.005
"""Processor time that each message may take, for all windows together: about 200 KiB of ordinary text."""

MOST_SPARE_SECONDS = 0.02
"""Processor time that all messages together may take beyond MESSAGE_SECONDS after a second without: about 1 MiB of ordinary text."""

SPARE_SHARE = 0.02
"""Spare seconds that are added per second."""

PIECE_BYTES = 8192
"""Bytes that zlib gets between two looks at the clock: up to level 7 at most a millisecond of work."""

SLOW_LEVEL, SLOW_PIECE_BYTES = 8, 1024
"""From this level on zlib compares each byte with up to 4,096 earlier places instead of 256, so that its pieces are smaller."""

MOST_STORED_BYTES = 65535
"""Length of the longest stored block (RFC 1951 3.2.4)."""

EMPTY_MESSAGE = b"\x00"
"""RFC 7692 7.2.3.6"""


class DeflateBudget:
    """Processor time for compressing, of one process. `now` is a clock in seconds, and `work` the processor's clock of this thread."""

    __slots__ = ("_filled", "_now", "_spare", "work")

    def __init__(self, now: Callable[[], float] = time.perf_counter, work: Callable[[], float] = time.thread_time) -> None:
        self._now = now
        self.work = work
        self._spare = MOST_SPARE_SECONDS
        self._filled = now()

    def left(self, taken: float) -> float:
        """Seconds that a message may still take after `taken` for other windows. Only its first window may use spare seconds."""
        if taken:
            return MESSAGE_SECONDS - taken
        now = self._now()
        self._spare = min(self._spare + (now - self._filled) * SPARE_SHARE, MOST_SPARE_SECONDS)
        self._filled = now
        return MESSAGE_SECONDS + max(self._spare, 0.0)

    def charge(self, seconds: float) -> None:
        """A message has taken `seconds` for its first window."""
        if seconds > MESSAGE_SECONDS:
            self._spare -= seconds - MESSAGE_SECONDS


class Compressor:
    """One DEFLATE stream of ours, for one message or for several with context takeover.

    `took` is the processor time that the current message has taken, in seconds. If it is `cut`, its rest was stored: the stream has not
    seen the whole message, and cannot be used for another one. `begun`: a message in pieces is under way.
    """

    __slots__ = ("_budget", "_limit", "_step", "_stream", "_taken", "begun", "cut", "took")

    def __init__(self, parameters: DeflateParameters, budget: DeflateBudget, sent: bytes = b"") -> None:
        """The stream may refer to `sent`, the last bytes that the client got from us."""
        arguments = parameters.level, zlib.DEFLATED, -parameters.server_window_bits, parameters.memory_level, zlib.Z_DEFAULT_STRATEGY
        self._stream = zlib.compressobj(*arguments, sent) if sent else zlib.compressobj(*arguments)
        self._budget = budget
        self._step = SLOW_PIECE_BYTES if parameters.level >= SLOW_LEVEL else PIECE_BYTES
        self._taken = self._limit = self.took = 0.0
        self.begun = self.cut = False

    def message(self, payload: bytes, taken: float = 0.0) -> bytes:
        """One message, without its last four bytes (RFC 7692 7.2.1). A message of one piece is not measured.

        `taken` is the time in seconds that compressing it for other windows has taken.
        """
        if len(payload) > self._step:
            self.begin(taken)
            return self.add(payload) + self.end()
        if not payload:
            return EMPTY_MESSAGE
        return (self._stream.compress(payload) + self._stream.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def begin(self, taken: float = 0.0) -> None:
        """Begin a message; for `taken` see message()."""
        self._taken, self._limit, self.took = taken, self._budget.left(taken), 0.0
        self.begun = True

    def add(self, data: bytes) -> bytes:
        """More of the message."""
        view, position, size, work = memoryview(data), 0, len(data), self._budget.work
        made: list[bytes | memoryview] = []
        last = work()
        while position < size and not self.cut:
            made.append(self._stream.compress(view[position : position + self._step]))
            position += self._step
            now = work()
            self.took += now - last
            last = now
            if self.took > self._limit:
                self.cut = True
                made.append(self._stream.flush(zlib.Z_SYNC_FLUSH))
        made.extend(_stored(view[position:]))
        return b"".join(made)

    def end(self) -> bytes:
        """The end of the message, without its last four bytes."""
        self.begun = False
        if not self._taken:
            self._budget.charge(self.took)
        if self.cut:
            return EMPTY_MESSAGE  # the first byte of an empty stored block
        return self._stream.flush(zlib.Z_SYNC_FLUSH)[:-4] or EMPTY_MESSAGE  # zlib gives nothing for a second flush in a row


def _stored(data: memoryview) -> list[bytes | memoryview]:
    """`data` in stored blocks, which begin at a byte boundary."""
    blocks: list[bytes | memoryview] = []
    for position in range(0, len(data), MOST_STORED_BYTES):
        block = data[position : position + MOST_STORED_BYTES]
        blocks += b"\x00" + len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little"), block
    return blocks
