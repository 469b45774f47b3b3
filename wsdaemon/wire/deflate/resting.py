"""Unused compressors are freed within seconds, because each holds 16 KiB and more, and most connections are quiet most of the time."""

from __future__ import annotations

from ...core.wheel import Wheel
from .streams import Deflate

LOOK_SECONDS = 2.0
"""Time between two checks: a compressor that was not used in between is freed. The next message begins a new context."""


class Resting:
    """Watches the compressors of all connections; one entry on the wheel, and that only while there are any."""

    __slots__ = ("_watched", "_wheel", "due_bucket")

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._watched: set[Deflate] = set()
        self.due_bucket = 0

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, deflate: Deflate) -> None:
        """`deflate` has made a compressor."""
        deflate.watched = True
        self._watched.add(deflate)
        if not self.due_bucket:
            self._wheel.set(self, LOOK_SECONDS)

    def due(self) -> None:
        for deflate in list(self._watched):
            if deflate.used:
                deflate.used = False
            else:
                deflate.forget_what_was_sent()
                deflate.watched = False
                self._watched.discard(deflate)
        if self._watched:
            self._wheel.set(self, LOOK_SECONDS)
