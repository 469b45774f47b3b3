"""Inflates compressed frames beside their connection, so that watchers can read them.

The work has a bound: a long frame, and more than `MAX_INFLATED_BYTES` of one read or write, are inflated no further. Then the window is
lost, to which later messages may refer, and they are not inflated until it is known again. A message is never shown wrongly: zlib refuses
a reference to bytes that are not known.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from ...core.seen_frame import Inflated, SeenFrame

MAX_FRAME_BYTES: Final = 64 * 1024
"""The beginning of a compressed payload that is kept until its frame is whole."""

MAX_INFLATED_BYTES: Final = 256 * 1024
"""Bytes that come out of one read or one write, all its frames together."""

MAX_RATIO: Final = 1032
"""Bytes that come out of one byte at most: a byte of DEFLATE data has at most four repetitions of 258."""


class InflatedView:
    """The compressed messages in one direction. `window` is the one that the next message may refer to; None: it is not known.

    `bits` is the size of the window, which lasts from message to message with `takeover`. `recover` finds it between two messages.
    """

    def __init__(self, bits: int, takeover: bool, recover: Callable[[], bytes | None]) -> None:
        self._bits = bits
        self._takeover = takeover
        self._recover = recover
        self._decoder: zlib._Decompress | None = None
        self._room = 0
        self.window: bytes | None = None

    def begin(self, between: bool) -> None:
        """More frames follow. `between`: the last one is whole."""
        self._room = MAX_INFLATED_BYTES
        if between and self._decoder is None and self.window is None:
            self.window = self._recover() if self._takeover else b""

    def inflated(self, frame: SeenFrame, payload: bytes, keep: int) -> Inflated | None:
        """The first `keep` bytes of a frame of a compressed message; None if they are not known. `payload` may be its beginning."""
        if frame.opcode:
            self._decoder = None if self.window is None else zlib.decompressobj(-self._bits, self.window)
        decoder = self._decoder
        if decoder is None:
            return None
        try:
            found = decoder.decompress(payload, max(self._room, 0) + 1) if payload else b""
        except zlib.error:  # it may have come after a long beginning, which zlib keeps to itself
            self._room -= MAX_RATIO * len(payload)
            self._lose()
            return None
        self._room -= len(found)
        whole = len(payload) == frame.size and self._room >= 0 and not decoder.eof
        if not whole:
            self._lose()
        else:
            self._remember(found, frame.final)
        return Inflated(found[:keep], len(found) > keep or not whole)

    def _remember(self, found: bytes, final: bool) -> None:
        size = 1 << self._bits
        if self._takeover:
            assert self.window is not None
            self.window = found[-size:] if len(found) >= size else (self.window + found)[-size:]
        if final:
            self._decoder = None

    def _lose(self) -> None:
        self._decoder, self.window = None, None if self._takeover else b""
