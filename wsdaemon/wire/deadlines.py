"""The deadlines of a connection, on the wheel: pings, handshakes, slow and idle clients, and the lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from autobahn.websocket.protocol import WebSocketProtocol

from ..core.closing import GOING_AWAY
from .whole import Whole

if TYPE_CHECKING:
    from .policy import WirePolicy
    from .reader import Reader
    from .writer import Writer

UNASKED, ASKED, ANSWERED = range(3)
"""Whether a ping is under way, and whether its answer has come."""

SIGN_OF_LIFE_BYTES = 256
"""So much must go or come within `ping_timeout` where no whole frame comes: a long message may be under way, not a byte now and then."""

IDLE_LOOKS = 4
"""A connection is looked at this often during its idle timeout, so that it is closed at most a quarter too late."""

NEVER = float("inf")

AT_THE_END = (GOING_AWAY, "")
"""Code and reason of an end that no caller has given any for; one object for all connections."""


class PingState(NamedTuple):
    """The deadlines of a connection, in seconds from now, and the state of its ping. None: no such deadline."""

    pinged: int
    """UNASKED, ASKED or ANSWERED."""
    asked_ago: float
    ping_in: float | None
    heard: bool
    came: int
    """Bytes that came since the ping."""
    quiet_for: int
    quiet: int
    """Messages of both directions since the last look."""
    idle_in: float | None


class Timed(Whole, Protocol):
    """A wire as its deadlines see it."""

    @property
    def policy(self) -> WirePolicy: ...

    @property
    def reader(self) -> Reader: ...

    @property
    def writer(self) -> Writer: ...


class Deadlines:
    """Deadlines of one connection, the earliest of which is on the wheel. Times are the loop's seconds.

    While Autobahn's handshakes last, the wheel has their time instead: until the connection is open, and from the first Close frame on.
    """

    __slots__ = (
        "_wire", "due_bucket", "end_at", "end_with", "idle_at", "ping_at", "ping_mark",
        "pinged", "quiet_for", "quiet_mark", "slow_at", "slow_mark", "taken_mark",
    )  # fmt: skip

    def __init__(self, wire: Timed) -> None:
        self._wire = wire
        self.due_bucket = 0
        self.ping_at = self.idle_at = self.end_at = self.slow_at = NEVER
        self.end_with = AT_THE_END
        self.pinged = UNASKED
        self.quiet_for = self.quiet_mark = self.ping_mark = self.slow_mark = 0
        self.taken_mark = NEVER

    def start(self) -> None:
        """The connection is open."""
        policy = self._wire.policy
        settings, now = policy.settings, policy.wheel.time()
        if settings.ping_interval:
            self.ping_at = now + settings.ping_interval
        if settings.idle_timeout:
            self.idle_at = now + settings.idle_timeout / IDLE_LOOKS
        if settings.lifetime:
            self.end_by(now + settings.lifetime, GOING_AWAY, "lifetime is over")
        self._arm(now)

    def left(self) -> PingState:
        """The deadlines as another process goes on with them; not the end, which is the lifetime's or the token's."""
        wire, now = self._wire, self._wire.policy.wheel.time()
        reader, asked = wire.reader, self.pinged != UNASKED
        messages = reader.messages_in + wire.writer.messages_out
        return PingState(
            pinged=self.pinged,
            asked_ago=now - (self.ping_at - wire.policy.settings.ping_timeout) if asked else 0.0,
            ping_in=None if asked or self.ping_at == NEVER else self.ping_at - now,
            heard=reader.heard,
            came=reader.bytes_in - self.ping_mark if asked else 0,
            quiet_for=self.quiet_for,
            quiet=messages - self.quiet_mark,
            idle_in=None if self.idle_at == NEVER else self.idle_at - now,
        )

    def go_on(self, state: PingState | None, age: float) -> None:
        """The connection was opened in another process, `age` seconds ago, and goes on with this mount's times."""
        wire, policy = self._wire, self._wire.policy
        settings, now = policy.settings, policy.wheel.time()
        self.start()
        if settings.lifetime:
            self.end_at = now + max(0.0, settings.lifetime - age)
        if state is not None:
            reader, writer = wire.reader, wire.writer
            if settings.ping_interval and state.pinged != UNASKED:
                self.pinged, reader.heard, self.ping_mark = state.pinged, state.heard, reader.bytes_in - state.came
                self.ping_at = now + max(0.0, settings.ping_timeout - state.asked_ago)
            elif state.ping_in is not None:
                self.ping_at = min(self.ping_at, now + max(0.0, state.ping_in))
            if state.idle_in is not None:
                self.idle_at = min(self.idle_at, now + max(0.0, state.idle_in))
                self.quiet_for, self.quiet_mark = state.quiet_for, reader.messages_in + writer.messages_out - state.quiet
        self._arm()

    def end_if_over(self) -> None:
        """Close at once when the end is past: a token may end while onConnect() of a mounted class is thinking."""
        if self.end_at <= self._wire.policy.wheel.time():
            self._wire.close(*self.end_with)

    def expect(self, seconds: float) -> None:
        """The end of an opening or a closing handshake is due in so many seconds."""
        self._wire.policy.wheel.set(self, seconds)

    def clear(self) -> None:
        """The connection is over."""
        self._wire.policy.wheel.clear(self)

    def end_by(self, when: float, code: int, reason: str) -> None:
        """Close with `code` at `when`, unless something earlier was said."""
        if when < self.end_at:
            self.end_at, self.end_with = when, (code, reason)
            self._arm()

    def _arm(self, now: float | None = None) -> None:
        """Put the earliest deadline on the wheel. `now` is the wheel's time, if it is known."""
        earliest = min(self.ping_at, self.idle_at, self.end_at, self.slow_at)
        if earliest < NEVER and self._wire.writer.live:
            wheel = self._wire.policy.wheel
            wheel.set(self, max(0.0, earliest - (wheel.time() if now is None else now)))

    def watch_backlog(self) -> None:
        """Something waits that the system did not take."""
        self._mark_what_waits()
        if self.slow_at < min(self.ping_at, self.idle_at, self.end_at):  # as a rule the next ping is earlier, and the wheel knows of it
            self._arm()

    def backlog_gone(self) -> None:
        """Nothing waits any more."""
        self.slow_at = self.taken_mark = NEVER

    def _mark_what_waits(self) -> None:
        """All that waits now has to be taken in time."""
        policy, writer = self._wire.policy, self._wire.writer
        self.slow_at = policy.wheel.time() + policy.backlog_age
        self.slow_mark = writer.bytes_out

    def due(self) -> None:
        """The wheel: a ping is due, or its answer, or the end of a handshake."""
        wire = self._wire
        match wire.protocol.state:
            case WebSocketProtocol.STATE_OPEN:
                self._time_passed()
            case WebSocketProtocol.STATE_CLOSING:
                wire.protocol.onCloseHandshakeTimeout()
            case WebSocketProtocol.STATE_CONNECTING:
                wire.protocol.onOpenHandshakeTimeout()
            case _:
                wire.abort()

    def _time_passed(self) -> None:
        """One of the deadlines of an open connection is here."""
        wire = self._wire
        now = wire.policy.wheel.time()
        if now >= self.end_at:
            wire.close(*self.end_with)
        elif now >= self.slow_at:
            if wire.writer.taken >= self.slow_mark:  # the data that waits now came later
                self._mark_what_waits()
            else:
                wire.close_slow_client()
        elif now >= self.idle_at and self._idle_too_long(now):
            wire.close(GOING_AWAY, "idle for too long")
        elif now >= self.ping_at:
            self._ping_or_give_up(now)
        self._arm(now)

    def _idle_too_long(self, now: float) -> bool:
        self.idle_at = now + self._wire.policy.settings.idle_timeout / IDLE_LOOKS
        messages = self._wire.reader.messages_in + self._wire.writer.messages_out
        self.quiet_for = self.quiet_for + 1 if messages == self.quiet_mark else 0
        self.quiet_mark = messages
        return self.quiet_for >= IDLE_LOOKS

    def _ping_or_give_up(self, now: float) -> None:
        wire, settings = self._wire, self._wire.policy.settings
        if self.pinged == UNASKED:
            self.pinged, wire.reader.heard, self.ping_mark = ASKED, False, wire.reader.bytes_in
            self.ping_at = now + settings.ping_timeout
            self.taken_mark = wire.writer.taken if wire.writer.queued else NEVER  # the ping has to wait behind that
            wire.protocol._sendAutoPing()
        elif self._seems_alive():
            self.pinged = UNASKED
            self.ping_at = now + max(0.0, settings.ping_interval - settings.ping_timeout)
        else:
            wire.protocol.onAutoPingTimeout()

    def _seems_alive(self) -> bool:
        """Whether the client has shown itself since it was pinged, or has had no chance to."""
        reader = self._wire.reader
        came, went = reader.bytes_in - self.ping_mark, self._wire.writer.taken - self.taken_mark
        # While the client has to wait, for the app or for its turn, its pong is not read either.
        return reader.heard or came >= SIGN_OF_LIFE_BYTES or went >= SIGN_OF_LIFE_BYTES or reader.waiting is not None or reader.stops != 0

    def ponged(self) -> None:
        """A pong came that answers our ping. If it is the first, the round trip is counted, to the loop's millisecond."""
        if self.pinged == ASKED:
            self.pinged = ANSWERED
            policy = self._wire.policy
            if policy.round_trips is not None:
                policy.round_trips.observe(max(0.0, policy.wheel.time() - (self.ping_at - policy.settings.ping_timeout)))
