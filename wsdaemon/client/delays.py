"""When a client connects again, and when it does not. No clock and no I/O."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from ..core.closing import TRY_AGAIN_LATER, ConnectionClosed
from .errors import ClientError, OpeningRefused

UNAUTHORIZED = 4401
"""The close code for a token that is missing, wrong or expired."""

LONGEST_HINT_SECONDS = 3600.0
"""A longer hint of the server counts as this."""

_RETRY = re.compile(r"(?:^|;)\s*retry\s*=\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:;|$)")

Draw = Callable[[float, float], float]
"""Draws a number evenly from a range, as random.uniform()."""


def hint(reason: str) -> float | None:
    """The seconds of a `retry=N` in a close reason, such as `restart; retry=12`; None if it has none."""
    found = _RETRY.search(reason)
    return None if found is None else min(float(found[1]), LONGEST_HINT_SECONDS)


def is_final(error: BaseException) -> bool:
    """Whether the same would happen again, as far as can be known."""
    if isinstance(error, ConnectionClosed):
        return error.code == UNAUTHORIZED
    return isinstance(error, ClientError) and error.final


def is_about_the_token(error: BaseException) -> bool:
    """Whether another token may help."""
    if isinstance(error, ConnectionClosed):
        return error.code == UNAUTHORIZED
    return isinstance(error, OpeningRefused) and error.status == 401


class Backoff:
    """The delays of one client: full jitter over a window that doubles with each failure in a row, from `first` to `most` seconds."""

    __slots__ = ("_draw", "_most", "_skipped", "failures", "first")

    def __init__(self, first: float, most: float, draw: Draw = random.uniform) -> None:
        self.first = first
        self._most = most
        self._draw = draw
        self._skipped = False
        self.failures = 0

    def skip(self) -> None:
        """The client itself ends the connection, to connect again: the next delay is 0."""
        self._skipped = True

    def reset(self) -> None:
        """The connection was good."""
        self.failures = 0

    def delay(self, error: BaseException) -> float:
        """The seconds until the next attempt after `error`.

        A drain's hint (`restart; retry=N`) is the delay: the server has drawn one for each client. To a Retry-After, which all clients
        share, a draw is added. Without a hint, 1013 and a 503 draw from the whole range at once.
        """
        if self._skipped:
            self._skipped = False
            return 0.0
        window = min(self._most, self.first * 2 ** min(self.failures, 62))
        self.failures += 1
        if isinstance(error, ConnectionClosed):
            if (hinted := hint(error.reason)) is not None:
                # A server that sends its clients away again and again must not keep them busy.
                return hinted if self.failures == 1 else max(hinted, self._draw(0.0, window))
            if error.code == TRY_AGAIN_LATER:
                return self._draw(self.first, self._most)
        if isinstance(error, OpeningRefused):
            if error.retry_after is not None:
                return error.retry_after + self._draw(0.0, self.first)
            if error.status == 503:
                return self._draw(0.0, self._most)
        return self._draw(0.0, window)
