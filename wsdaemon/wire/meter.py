"""How fast a client may send: token buckets, without timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..settings.model import MountSettings

BURST_SECONDS = 2.0
"""A client that was quiet may send this many seconds' worth of its rate at once."""


class MeterTokens(NamedTuple):
    """The tokens of a meter; below 0 is a debt."""

    messages: float
    bytes: float
    controls: float


class Meter:
    """Messages and bytes per second of one connection, and its control frames. 0 means no limit.

    Spending never fails: it gives the seconds until what was spent is earned again, 0 as long as the client keeps to its rate.

    `now` is the time of a clock that runs on while the loop is away, and `grace` the seconds of an absence that has just ended: a client
    that went on sending meanwhile has earned as many seconds' worth above the burst. It loses the rest when the grace ends.
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
        "counts_messages",
    )

    def __init__(self, messages_rate: float, bytes_rate: float, controls_rate: float, now: float) -> None:
        self._messages_rate, self._bytes_rate, self._controls_rate = messages_rate, bytes_rate, controls_rate
        self._messages, self._bytes, self._controls = (rate * BURST_SECONDS for rate in (messages_rate, bytes_rate, controls_rate))
        self._messages_seen = self._bytes_seen = 0
        self._then = now
        self.counts_messages = messages_rate > 0 or bytes_rate > 0
        """False: only control frames have a limit."""

    @classmethod
    def of(cls, settings: MountSettings, now: float) -> Meter:
        """One with the rates of a mount."""
        return cls(settings.messages_per_second, settings.bytes_per_second, settings.control_frames_per_second, now)

    def tokens(self, now: float, grace: float = 0.0) -> MeterTokens:
        """The tokens that the client has now; below 0 it owes."""
        self._earn(now, grace)
        return MeterTokens(self._messages, self._bytes, self._controls)

    def go_on_with(self, tokens: MeterTokens | None, messages: int, received: int) -> None:
        """Take over from the meter of another process: its tokens, if it had one, and the connection's counts, which are paid for.

        A larger burst than this meter's is cut. If a rate had no limit there, its tokens begin with 0.
        """
        self._messages_seen, self._bytes_seen = messages, received
        if tokens is not None:
            self._messages = min(self._messages, tokens.messages)
            self._bytes = min(self._bytes, tokens.bytes)
            self._controls = min(self._controls, tokens.controls)

    def _earn(self, now: float, grace: float) -> None:
        passed, self._then = max(0.0, now - self._then), now
        most = BURST_SECONDS + grace
        self._messages = min(self._messages_rate * most, self._messages + passed * self._messages_rate)
        self._bytes = min(self._bytes_rate * most, self._bytes + passed * self._bytes_rate)
        self._controls = min(self._controls_rate * most, self._controls + passed * self._controls_rate)

    def spend(self, messages: int, received: int, now: float, grace: float = 0.0) -> float:
        """Pay for what came so far: the connection's counts of messages and of bytes."""
        self._earn(now, grace)
        self._messages -= messages - self._messages_seen
        self._bytes -= received - self._bytes_seen
        self._messages_seen, self._bytes_seen = messages, received
        debt = 0.0
        if self._messages_rate and self._messages < 0:
            debt = -self._messages / self._messages_rate
        if self._bytes_rate and self._bytes < 0:
            debt = max(debt, -self._bytes / self._bytes_rate)
        return debt

    def spend_control(self, now: float, grace: float = 0.0) -> bool:
        """Pay for one control frame; False when there are too many of them."""
        if not self._controls_rate:
            return True
        self._earn(now, grace)
        self._controls -= 1
        return self._controls >= 0
