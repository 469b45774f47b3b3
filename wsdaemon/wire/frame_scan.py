"""Follows the frames in a stream of bytes, and keeps no more of a frame than its header and the beginning of its payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..core.seen_frame import SeenFrame
from .deflate.view import MAX_FRAME_BYTES, InflatedView

MAX_HEAD_BYTES: Final = 64 * 1024

CLOSE: Final = 8

CLOSE_CODE_BYTES: Final = 2
"""The code in a Close frame, which a watcher sees even if it wants no payload."""


class FrameScan:
    """The frames in one direction (RFC 6455 section 5.2).

    `keep` is the beginning of a payload that is kept, in bytes. `after_head`: the bytes begin with the head of an HTTP answer, and have
    frames only after a 101. `inside`: the bytes begin with the last so many bytes of a frame that is not shown. `view` inflates frames.
    `compressed`: the message whose frames pass is.
    """

    def __init__(self, show: Callable[[SeenFrame], object], keep: int, after_head: bool = False, inside: int = 0) -> None:
        self.keep = keep
        self.view: InflatedView | None = None
        self._show = show
        self._before: bytearray | None = bytearray() if after_head else None
        self._header = bytearray()
        self._frame: SeenFrame | None = None
        self._mask = b""
        self._payload = bytearray()
        self._kept = 0
        self._missing = inside or -1
        self._off = False
        self.compressed = False

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if self._before is not None:
            data = self._skip_head(data)
        if self.view is not None:
            self.view.begin(self._missing < 0 and not self._header)
        position = 0
        while position < len(data) and not self._off:
            if self._missing < 0:
                self._header.append(data[position])
                position += 1
                self._begin()
            else:
                size = min(self._missing, len(data) - position)
                room = self._kept - len(self._payload)
                if room > 0:
                    self._payload += data[position : position + min(size, room)]
                self._missing -= size
                position += size
            if self._missing == 0:
                self._end()

    def _skip_head(self, data: bytes) -> bytes:
        assert self._before is not None
        self._before += data
        head, found, rest = self._before.partition(b"\r\n\r\n")
        if not found:
            self._off = len(self._before) > MAX_HEAD_BYTES
            if self._off:
                self._before = None
            return b""
        self._before, self._off = None, not head.startswith(b"HTTP/1.1 101")
        return bytes(rest)

    def _begin(self) -> None:
        """The header may be complete now: then the payload begins."""
        header = self._header
        if len(header) < 2:
            return
        length, masked = header[1] & 0x7F, header[1] >> 7
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(header) < 2 + extended + 4 * masked:
            return
        size = int.from_bytes(header[2 : 2 + extended]) if extended else length
        self._mask = bytes(header[2 + extended :])
        opcode, compressed = header[0] & 0x0F, bool(header[0] & 0x40)
        if not opcode:  # RSV1 stands in the first frame of a message
            compressed = self.compressed
        elif opcode < CLOSE:
            self.compressed = compressed
        self._frame = SeenFrame(opcode, size, b"", compressed, bool(header[0] & 0x80))
        self._missing = size
        self._kept = self._wanted(self._frame)
        header.clear()

    def _wanted(self, frame: SeenFrame) -> int:
        """The beginning of the frame's payload that is kept, in bytes."""
        if self.view is not None and frame.compressed:
            return max(self.keep, MAX_FRAME_BYTES)
        return max(self.keep, CLOSE_CODE_BYTES) if frame.opcode == CLOSE else self.keep

    def _end(self) -> None:
        frame, payload = self._frame, bytes(self._payload)
        self._payload.clear()
        self._missing, self._frame = -1, None
        if frame is not None:
            payload = _unmasked(payload, self._mask) if self._mask else payload
            inflated = None
            if self.view is not None and frame.compressed and frame.opcode < CLOSE:
                inflated, payload = self.view.inflated(frame, payload, self.keep), payload[: self.keep]
            self._show(frame._replace(beginning=payload, inflated=inflated))


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)
