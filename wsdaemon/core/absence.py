"""The loop's absences, for rates: clients go on sending while the process is stopped, and the loop then reads all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

AWAY_SECONDS = 0.5
"""If a timer of the loop fires this much too late, the process was stopped, or something held the loop."""

BEAT_SECONDS = 1.0
"""The interval at which the loop shows that it turns. An absence is known to this precision, and is never taken for shorter than it was."""

GRACE_SECONDS = 2.0
"""After an absence, the time within which the loop must have read the data that gathered meanwhile."""


class Handle(Protocol):
    def cancel(self) -> object: ...


class Clock(Protocol):
    """The part of an asyncio loop that timers need."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle: ...


class Absence:
    """Notices that the loop was away: the process was stopped, the machine slept, or user code held the loop.

    A rate caps the tokens that a quiet client may save. A client that kept to its rate during an absence is not quiet, but its data arrives
    in one burst. So each rate adds `grace()` seconds' worth to its cap. Sockets may be read before the loop's late timers run, so
    `grace()` looks at the clock by itself.
    """

    __slots__ = ("_clock", "_due", "_grace", "_handle", "_last", "_until")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handle: Handle | None = None
        self._last = 0.0
        self._due = float("inf")
        self._grace = 0.0
        self._until = 0.0

    def start(self) -> None:
        """Begin to watch the loop."""
        self._wait(self._clock.time())

    def stop(self) -> None:
        """Watch no further: `grace()` is 0 from now on."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._due, self._until = float("inf"), 0.0

    def time(self) -> float:
        """Now, in seconds of the loop's clock: the clock of rates, which absences do not stop."""
        return self._clock.time()

    def grace(self) -> float:
        """Seconds for which the loop was away just now, or up to GRACE_SECONDS ago; 0 if it was not."""
        now = self._clock.time()
        if now - self._due > AWAY_SECONDS:
            return now - self._last
        return self._grace if now < self._until else 0.0

    def _beat(self) -> None:
        now = self._clock.time()
        if now - self._due > AWAY_SECONDS:
            self._grace, self._until = now - self._last, now + GRACE_SECONDS
        self._wait(now)

    def _wait(self, now: float) -> None:
        self._last, self._due = now, now + BEAT_SECONDS
        self._handle = self._clock.call_later(BEAT_SECONDS, self._beat)


def no_grace() -> float:
    """The grace of a rate whose loop is not watched."""
    return 0.0
