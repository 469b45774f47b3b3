"""Autobahn's parser, for bytes that the frame reader does not take."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerProtocol

PIECE_BYTES = 1024
"""Bytes given to the parser at once: it copies what it holds for each frame, so a long read of tiny frames would cost its square."""


class Fallback:
    """Autobahn's parser of one connection. It is made when first needed, and dropped when it holds nothing; `always`: kept for ever.

    `fragments` counts those of the message that is being parsed.
    """

    __slots__ = ("_always", "_protocol", "fragments")

    def __init__(self, protocol: WebSocketServerProtocol, always: bool) -> None:
        self._protocol = protocol
        self._always = always
        self.fragments = 0

    @property
    def _between_frames(self) -> bool:
        return self._protocol.current_frame is None and not self._protocol.inside_message

    @property
    def idle(self) -> bool:
        """Whether the parser holds at most the beginning of a frame, which the frame reader can take as well."""
        return not self._always and bool(self._protocol.data) and self._between_frames

    @property
    def done(self) -> bool:
        """Whether the parser holds nothing."""
        return not self._always and not self._protocol.data and self._between_frames

    def take_back(self) -> bytes:
        """The beginning of a frame that the parser holds."""
        data: bytes = self._protocol.data
        self._protocol.data = b""
        return data

    def give(self, data: bytes, position: int) -> int:
        """Let the parser have the next piece of `data`; the new position."""
        protocol = self._protocol
        frame = protocol.current_frame
        size = PIECE_BYTES if frame is None else max(PIECE_BYTES, frame.length - protocol.current_frame_masker.pointer())
        self.give_all(data[position : position + size])
        return min(position + size, len(data))

    def give_all(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    def go_on(self) -> None:
        """Parse what the parser holds: it had stopped because the app wanted to wait."""
        if self._protocol.data:
            self._protocol.consumeData()
