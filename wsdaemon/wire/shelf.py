"""Messages that wait for a slow client, on a mount that drops messages rather than the connection."""

from __future__ import annotations

from collections import OrderedDict

FRAME_COST_BYTES = 160
"""Memory that a frame on a shelf takes besides its own: with messages of ten bytes that is most of it."""


class Shelf:
    """Whole frames, oldest first, that take at most `most` bytes of memory; what does not fit is paid for by the oldest.

    `size` is the frames' own bytes, without FRAME_COST_BYTES; `dropped` counts frames.

    With `latest` a frame takes the place of the one with the same key, so that a client that catches up gets one of each.
    """

    __slots__ = ("_count", "_frames", "_latest", "_most", "dropped", "size")

    def __init__(self, most: int, latest: bool) -> None:
        self._most = most
        self._latest = latest
        self._frames: OrderedDict[object, bytes] = OrderedDict()
        self._count = 0
        self.size = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes, key: object = None) -> None:
        """Add a frame. The newest stays even when it alone is larger than `most`: with everything dropped a client would have nothing."""
        if not self._latest:
            self._count += 1
            key = self._count
        old = self._frames.pop(key, None)
        if old is not None:
            self.size -= len(old)
            self.dropped += 1
        self._frames[key] = frame
        self.size += len(frame)
        while self.size + FRAME_COST_BYTES * len(self._frames) > self._most and len(self._frames) > 1:
            _, oldest = self._frames.popitem(last=False)
            self.size -= len(oldest)
            self.dropped += 1

    def take(self, least: int) -> list[bytes]:
        """The oldest frames, until they are `least` bytes or there are no more."""
        taken: list[bytes] = []
        while self._frames and least > 0:
            _, frame = self._frames.popitem(last=False)
            self.size -= len(frame)
            least -= len(frame)
            taken.append(frame)
        return taken
