"""Rates: how often something may happen, with room for a burst after a pause."""

from __future__ import annotations

from .contract import RateLimited

ROUNDING_ERROR = 1e-6
"""Of a token: a caller that waits for just `retry_after` seconds is not refused by what adding floats loses."""


class RateBucket:
    """A token bucket: `rate` tokens per second, and up to `burst` of them at once after a pause.

    It has no clock of its own: `now` comes with each call, in seconds, and never goes back. `limit` names the limit in the error, such as
    "the room takes 5 publications a second". `grace`: seconds for which the loop was away just before, while clients went on sending. So
    many seconds' worth of tokens are earned above `burst`; those that are not taken until the grace ends are lost.
    """

    __slots__ = ("_burst", "_limit", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: float, now: float, limit: str) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._time = now
        self._limit = limit

    def take(self, now: float, grace: float = 0.0) -> None:
        """Take a token, or raise RateLimited and take none."""
        tokens = min(self._burst + grace * self._rate, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if tokens < 1 - ROUNDING_ERROR:
            self._tokens = tokens
            raise RateLimited(self._limit, (1 - tokens) / self._rate)
        self._tokens = tokens - 1

    def is_full(self, now: float) -> bool:
        """Whether a whole burst may happen now."""
        return self._tokens + (now - self._time) * self._rate >= self._burst - ROUNDING_ERROR
