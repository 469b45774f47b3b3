"""A message for many: framed once, and compressed at most once for all who agreed on the same compression."""

from __future__ import annotations

from collections.abc import Callable

from .deflate.negotiation import DeflateParameters
from .deflate.streams import deflate_message


class Prepared:
    """One message, ready to be sent to any number of connections."""

    __slots__ = ("_compressed", "_frame", "_payload", "_text", "key", "plain", "size")

    def __init__(self, payload: bytes, text: bool, frame: Callable[[int, bytes, bool], bytes], key: object = None) -> None:
        """`payload` is UTF-8 when `text`; `frame` makes a frame from opcode, payload and RSV1.

        `key` says what it is about: where a mount keeps only the latest for a slow client, it takes the place of one with the same key.
        """
        self.key = key
        self._payload = payload
        self._text = text
        self._frame = frame
        self.size = len(payload)
        self.plain = frame(1 if text else 2, payload, False)
        self._compressed: dict[tuple[int, int, int], bytes] = {}

    def compressed(self, parameters: DeflateParameters) -> bytes:
        """The compressed frame for these parameters.

        It refers to nothing that was sent before, so it suits every connection with the same window, context takeover or not: one with
        context takeover then starts a new context (RFC 7692 section 7.1.1 lets a sender refer to its window, and does not make it).
        """
        key = (parameters.server_window_bits, parameters.level, parameters.memory_level)
        frame = self._compressed.get(key)
        if frame is None:
            frame = self._frame(1 if self._text else 2, deflate_message(self._payload, parameters), True)
            self._compressed[key] = frame
        return frame
