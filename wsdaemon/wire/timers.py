"""What happens to a connection by itself: pings, and the ends of patience, of slowness, of idleness and of a lifetime. All on the wheel."""

from __future__ import annotations

from collections.abc import Callable

from ..core.closing import GOING_AWAY
from .input import OPEN, Input

PING = b"ping"
PING_FRAME = b"\x89\x04" + PING

UNASKED, ASKED, ANSWERED = range(3)
"""Whether a ping is under way, and whether its answer has come."""

SIGN_OF_LIFE = 256
"""Bytes that must go or come within `ping_timeout` where no whole frame comes: a long message may be under way, not a byte now and then."""

QUIET_PARTS = 4
"""A connection is looked at this often during its idle timeout, so that it is closed at most a quarter too late."""

NEVER = float("inf")


class Timed(Input):
    """Deadlines of one connection, the earliest of which is on the wheel. Times are the loop's seconds."""

    __slots__ = (
        "due_bucket", "end_at", "end_with", "idle_at", "ping_at", "ping_mark",
        "pinged", "quiet_for", "quiet_mark", "slow_at", "slow_mark", "taken_mark",
    )  # fmt: skip

    send_backlog_age: float
    onAutoPingTimeout: Callable[[], None]
    """Autobahn's."""

    def __init__(self) -> None:
        super().__init__()
        self.due_bucket = 0
        self.ping_at = self.idle_at = self.end_at = self.slow_at = NEVER
        self.end_with = (GOING_AWAY, "")
        self.pinged = UNASKED
        self.quiet_for = self.quiet_mark = self.ping_mark = self.slow_mark = 0
        self.taken_mark = NEVER

    def start_timers(self) -> None:
        """The connection is open."""
        policy = self.wire_policy
        if policy.ping_interval:
            self.ping_at = policy.wheel.time() + policy.ping_interval
        if policy.idle_timeout:
            self.idle_at = policy.wheel.time() + policy.idle_timeout / QUIET_PARTS
        if policy.lifetime:
            self.end_by(policy.wheel.time() + policy.lifetime, GOING_AWAY, "lifetime is over")
        self._arm()

    def end_by(self, when: float, code: int, reason: str) -> None:
        """Close with `code` at `when`, unless something earlier was said."""
        if when < self.end_at:
            self.end_at, self.end_with = when, (code, reason)
            if self.state == OPEN:  # before, the wheel keeps the time of the opening handshake, and later that of the closing one
                self._arm()

    def _arm(self) -> None:
        earliest = min(self.ping_at, self.idle_at, self.end_at, self.slow_at)
        if earliest < NEVER:
            wheel = self.wire_policy.wheel
            wheel.set(self, max(0.0, earliest - wheel.time()))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.send_backlog_age and self.live:
            self._mark_what_waits()
            if self.slow_at < min(self.ping_at, self.idle_at, self.end_at):  # as a rule the next ping is earlier, and the wheel knows of it
                self._arm()

    def resume_writing(self) -> None:
        self.slow_at = self.taken_mark = NEVER
        super().resume_writing()

    def _mark_what_waits(self) -> None:
        """All that waits now has to be taken in time."""
        self.slow_at = self.wire_policy.wheel.time() + self.send_backlog_age
        self.slow_mark = self.bytes_out

    @property
    def taken(self) -> int:
        """Bytes that the system has taken from us so far. While something is `queued`, more of them show that the client takes them."""
        return self.bytes_out - (0 if self.native is None else self.native.get_write_buffer_size())

    def time_passed(self) -> None:
        """One of the deadlines of an open connection is here."""
        now = self.wire_policy.wheel.time()
        if now >= self.end_at:
            self.close(*self.end_with)
        elif now >= self.slow_at:
            if self.taken >= self.slow_mark:  # what waits now came later
                self._mark_what_waits()
            else:
                self.too_slow()
        elif now >= self.idle_at and self._idle_too_long(now):
            self.close(GOING_AWAY, "idle for too long")
        elif now >= self.ping_at:
            self._ping_or_give_up(now)
        if self.state == OPEN:
            self._arm()

    def _idle_too_long(self, now: float) -> bool:
        self.idle_at = now + self.wire_policy.idle_timeout / QUIET_PARTS
        messages = self.messages_in + self.messages_out
        self.quiet_for = self.quiet_for + 1 if messages == self.quiet_mark else 0
        self.quiet_mark = messages
        return self.quiet_for >= QUIET_PARTS

    def _ping_or_give_up(self, now: float) -> None:
        policy = self.wire_policy
        if self.pinged == UNASKED:
            self.pinged, self.heard, self.ping_mark = ASKED, False, self.bytes_in
            self.ping_at = now + policy.ping_timeout
            self.taken_mark = self.taken if self.queued else NEVER  # the ping has to wait behind that
            self.write(PING_FRAME)
        elif self._seems_alive():
            self.pinged = UNASKED
            self.ping_at = now + max(0.0, policy.ping_interval - policy.ping_timeout)
        else:
            self.onAutoPingTimeout()

    def _seems_alive(self) -> bool:
        """Whether the client has shown itself since it was pinged, or has had no chance to."""
        came, went = self.bytes_in - self.ping_mark, self.taken - self.taken_mark
        # While the client has to wait, for the app or for its turn, its pong is not read either.
        return self.heard or came >= SIGN_OF_LIFE or went >= SIGN_OF_LIFE or self.wire_waiting is not None or self.wire_deferred

    def wire_ponged(self, payload: bytes) -> None:
        """A pong came. If it answers a ping of ours for the first time, the round trip is counted, to the loop's millisecond."""
        if self.pinged == ASKED and payload == PING:
            self.pinged = ANSWERED
            policy = self.wire_policy
            if policy.round_trips is not None:
                policy.round_trips.observe(max(0.0, policy.wheel.time() - (self.ping_at - policy.ping_timeout)))

    def due(self) -> None:
        raise NotImplementedError
