"""How fast a client may send: token buckets, without timers."""

from __future__ import annotations

BURST = 2.0
"""Seconds' worth that a client may send at once, after it has been quiet."""


class Meter:
    """Messages and bytes per second of one connection, and its control frames. 0 means no limit.

    Spending never fails: it gives the seconds until what was spent is earned again, 0 as long as the client keeps to its rate.
    """

    __slots__ = (
        "_bytes",
        "_bytes_rate",
        "_bytes_seen",
        "_controls",
        "_controls_rate",
        "_messages",
        "_messages_rate",
        "_messages_seen",
        "_then",
        "messages_count",
    )

    def __init__(self, messages_rate: float, bytes_rate: float, controls_rate: float, now: float) -> None:
        self._messages_rate, self._bytes_rate, self._controls_rate = messages_rate, bytes_rate, controls_rate
        self._messages, self._bytes, self._controls = messages_rate * BURST, bytes_rate * BURST, controls_rate * BURST
        self._messages_seen = self._bytes_seen = 0
        self._then = now
        self.messages_count = messages_rate > 0 or bytes_rate > 0
        """False: only control frames have a limit."""

    def _earn(self, now: float) -> None:
        passed, self._then = max(0.0, now - self._then), now
        self._messages = min(self._messages_rate * BURST, self._messages + passed * self._messages_rate)
        self._bytes = min(self._bytes_rate * BURST, self._bytes + passed * self._bytes_rate)
        self._controls = min(self._controls_rate * BURST, self._controls + passed * self._controls_rate)

    def spend(self, messages: int, received: int, now: float) -> float:
        """Pay for what came so far: the connection's counts of messages and of bytes."""
        self._earn(now)
        self._messages -= messages - self._messages_seen
        self._bytes -= received - self._bytes_seen
        self._messages_seen, self._bytes_seen = messages, received
        debt = 0.0
        if self._messages_rate and self._messages < 0:
            debt = -self._messages / self._messages_rate
        if self._bytes_rate and self._bytes < 0:
            debt = max(debt, -self._bytes / self._bytes_rate)
        return debt

    def spend_control(self, now: float) -> bool:
        """Pay for one control frame; False when there are too many of them."""
        if not self._controls_rate:
            return True
        self._earn(now)
        self._controls -= 1
        return self._controls >= 0
