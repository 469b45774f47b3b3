"""A message for many: framed once, and compressed at most once for all who agreed on the same compression."""

from __future__ import annotations

from collections.abc import Callable

from .deflate.negotiation import DeflateParameters
from .deflate.streams import deflate_message
from .turns import Turns


class Prepared:
    """One message, ready to be sent to any number of connections."""

    __slots__ = ("_compressed", "_frame", "_payload", "_taken", "_text", "_turns", "key", "plain", "size")

    def __init__(self, payload: bytes, text: bool, frame: Callable[[int, bytes, bool], bytes], turns: Turns, key: object = None) -> None:
        """`payload` is UTF-8 if `text`; `frame` makes a frame from opcode, payload and RSV1; compressing is charged to `turns`.

        `key` names the subject of the message: where a mount keeps only the latest for a slow client, a message replaces an earlier one
        with the same key.
        """
        self.key = key
        self._payload = payload
        self._text = text
        self._frame = frame
        self._turns = turns
        self.size = len(payload)
        self.plain = frame(1 if text else 2, payload, False)
        self._compressed: dict[tuple[int, int, int], bytes] = {}
        self._taken = 0.0

    def compressed(self, parameters: DeflateParameters) -> bytes:
        """The frame for connections that agreed on these parameters: compressed, or `plain` if compressing it for other windows has used up
        the message's time.

        A compressed frame refers to no earlier message, so that it suits every connection with the same window, with context takeover or
        without: on one with context takeover it starts a new context (RFC 7692 7.1.1 allows a sender to refer to its window, but does not
        demand it).
        """
        key = (parameters.server_window_bits, parameters.level, parameters.memory_level)
        frame = self._compressed.get(key)
        if frame is None:
            frame = self._compressed[key] = self._compress(parameters)
        return frame

    def _compress(self, parameters: DeflateParameters) -> bytes:
        turns = self._turns
        if turns.deflating.left(self._taken) <= 0:
            return self.plain
        began = turns.now()
        payload, took = deflate_message(self._payload, parameters, turns.deflating, self._taken)
        turns.spend(turns.now() - began)
        self._taken += took
        return self._frame(1 if self._text else 2, payload, True)
