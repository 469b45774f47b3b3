"""How long one message may be compressed. Input can be made to cost zlib fifty times the usual, and it can be sent compressed: a period that
is longer than our window and shorter than the client's is 7 KB that we would compress again, as 1 MiB, for a tenth of a second.

Compressed output says nothing of its cost: such input compresses as well as JSON. Therefore a long message is given to zlib in pieces, with a
look at the processor's clock after each. Once the time is used up, the rest of the message is stored (RFC 1951 3.2.4), which is a copy.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zlib import _Compress

MESSAGE_SECONDS = 0.005
"""Processor time that compressing one message may always take, for all windows together: ordinary text of about 200 KiB."""

MOST_SPARE_SECONDS = 0.02
"""Processor time that long messages may take beyond MESSAGE_SECONDS, all together, if none has for a second: 1 MiB of ordinary text."""

SPARE_SHARE = 0.02
"""Spare seconds that are added per second."""

PIECE_BYTES = 8192
"""Bytes that zlib gets between two looks at the clock: at most a millisecond up to level 7."""

SLOW_LEVEL, SLOW_PIECE_BYTES = 8, 1024
"""From this level on zlib compares with up to 4,096 earlier places instead of 256, for each byte."""

MOST_STORED_BYTES = 65535
"""Length of the longest stored block (RFC 1951 3.2.4)."""


class Budget:
    """Processor time for compressing, of one process. `now` is a clock in seconds, and `work` the processor's, of this thread."""

    __slots__ = ("_filled", "_now", "_spare", "work")

    def __init__(self, now: Callable[[], float] = time.perf_counter, work: Callable[[], float] = time.thread_time) -> None:
        self._now = now
        self.work = work
        self._spare = MOST_SPARE_SECONDS
        self._filled = now()

    def left(self, taken: float = 0.0) -> float:
        """Seconds that a message may still take after it has taken `taken`; the spare ones count only for its first window."""
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


def compress(compressor: _Compress, payload: bytes, level: int, budget: Budget, taken: float = 0.0) -> tuple[bytes, float, bool]:
    """One message without its last four bytes (RFC 7692 7.2.1), the seconds that it took, and whether its rest was stored.

    In that case the compressor has not seen the whole message, and must not be used for another one. A message of one piece is not measured:
    0 seconds. `taken` are the seconds that the message has taken already, for other windows.
    """
    size, step = len(payload), SLOW_PIECE_BYTES if level >= SLOW_LEVEL else PIECE_BYTES
    if size <= step:
        return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], 0.0, False
    view, position = memoryview(payload), 0
    began = budget.work()
    until, now = began + budget.left(taken), began
    made = []
    while position < size and now <= until:
        made.append(compressor.compress(view[position : position + step]))
        position += step
        now = budget.work()
    made.append(compressor.flush(zlib.Z_SYNC_FLUSH))
    took = now - began
    if not taken:
        budget.charge(took)
    if position >= size:
        return b"".join(made)[:-4], took, False
    made.extend(_stored(view[position:]))
    return b"".join(made), took, True


def _stored(data: memoryview) -> list[bytes | memoryview]:
    """`data` in stored blocks, from a byte boundary, and the first byte of the empty one that ends a message."""
    blocks: list[bytes | memoryview] = []
    for position in range(0, len(data), MOST_STORED_BYTES):
        block = data[position : position + MOST_STORED_BYTES]
        blocks += b"\x00" + len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little"), block
    blocks.append(b"\x00")
    return blocks
