"""Rates: how often something may happen, with room for a burst after a pause."""

from __future__ import annotations

ROUNDING_ERROR_TOKENS = 1e-6
"""A caller that waits for exactly the seconds that `take` returned is not refused because adding floats loses a little."""


class TokenBucket:
    """A token bucket: `rate` tokens per second, and up to `burst` of them at once after a pause.

    It has no clock of its own: `now` comes with each call, in seconds, and never goes back. `grace`: the seconds for which the loop was
    away just before, while clients went on sending. So many seconds' worth of tokens are earned above `burst`; tokens that are not taken
    until the grace ends are lost.
    """

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._time = now

    def take(self, now: float, grace: float = 0.0) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        tokens = min(self._burst + grace * self._rate, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if tokens < 1 - ROUNDING_ERROR_TOKENS:
            self._tokens = tokens
            return (1 - tokens) / self._rate
        self._tokens = tokens - 1
        return 0.0

    def state(self) -> tuple[float, float]:
        """The tokens, and the time at which there were as many."""
        return self._tokens, self._time

    def restore(self, tokens: float, time: float) -> None:
        """Go on from a `state`."""
        self._tokens, self._time = tokens, time

    def is_full(self, now: float) -> bool:
        """Whether a whole burst may happen now."""
        return self._tokens + (now - self._time) * self._rate >= self._burst - ROUNDING_ERROR_TOKENS
