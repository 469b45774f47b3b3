"""The end of a client's token: a warning before it, if the mount asks for one, and then the end of its connection.

A token ends at a time of the system's clock, which may be set, and which goes on while a machine is suspended; the wheel's clock does
neither. `SystemClock` compares the two, so that a jump is noticed within seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...core.wheel import Wheel

TOKEN_EXPIRED = 4401
"""The close code for a connection whose token has ended."""

TOKEN_EXPIRED_REASON = "token expired"  # noqa: S105 - no password

LOOK_SECONDS = 1.0
"""Between two comparisons of the clocks."""

JUMP_SECONDS = 0.5
"""The clocks may drift apart by this much before every wait is measured anew."""

EXPIRIES_PER_PASS = 5000
"""Waits that are measured anew before other work has its turn: some 5 ms."""

WARN_AGAIN_SECONDS = 1.0
"""Until a warning that came before the connection was open is tried again."""


class SystemClock:
    """The time of day, and the expiries that wait for one. It is on the wheel only while there are any."""

    __slots__ = ("_ahead", "_expiries", "_now", "_stale", "_wheel", "due_bucket")

    def __init__(self, wheel: Wheel, now: Callable[[], float] = time.time) -> None:
        """`now` gives seconds since 1970."""
        self._wheel = wheel
        self._now = now
        self._ahead = 0.0
        self._expiries: dict[Expiry, None] = {}
        self._stale: list[Expiry] = []
        self.due_bucket = 0

    def __len__(self) -> int:
        """Expiries that wait."""
        return len(self._expiries)

    def time(self) -> float:
        """Seconds since 1970."""
        return self._now()

    def wait(self, expiry: Expiry, until: float) -> None:
        """Call `expiry.due()` at `until`, in seconds since 1970; replaces its earlier time."""
        if not self._expiries:
            self._ahead = self._now() - self._wheel.time()
            self._wheel.set(self, LOOK_SECONDS)
        self._expiries[expiry] = None
        self._wheel.set(expiry, max(0.0, until - self._now()))

    def leave(self, expiry: Expiry) -> None:
        """Forget an expiry; it may be forgotten already."""
        self._expiries.pop(expiry, None)
        self._wheel.clear(expiry)
        if not self._expiries:
            self._stale.clear()
            self._wheel.clear(self)

    def due(self) -> None:
        ahead = self._now() - self._wheel.time()
        if abs(ahead - self._ahead) > JUMP_SECONDS:
            self._ahead, self._stale = ahead, list(self._expiries)
        for expiry in self._stale[-EXPIRIES_PER_PASS:]:
            if expiry in self._expiries:
                expiry.measure()
        del self._stale[-EXPIRIES_PER_PASS:]
        if self._expiries:
            self._wheel.set(self, 0.0 if self._stale else LOOK_SECONDS)


class Expiry:
    """The end of one client's token. Only a client whose identity expires has one."""

    __slots__ = ("_clock", "_end", "_expires", "_warn", "_warn_at", "due_bucket")

    def __init__(
        self,
        clock: SystemClock,
        expires: float,
        end: Callable[[], None],
        *,
        warning: float = 0.0,
        warn: Callable[[float], bool] | None = None,
    ) -> None:
        """`end` is called once, at `expires`, in seconds since 1970.

        `warn` is called once, `warning` seconds before, with the seconds that are left; at once if there are fewer; never if `warning` is
        0. If it answers False, because the connection is not open yet, it is called again a second later.
        """
        self._clock = clock
        self._expires = expires
        self._end = end
        self._warn = warn if warning > 0 else None
        self._warn_at = expires - warning
        self.due_bucket = 0
        self.measure()

    @property
    def warned(self) -> bool:
        """Whether nothing is left to be told before the end."""
        return self._warn is None

    def cancel(self) -> None:
        """The connection is over."""
        self._clock.leave(self)

    def measure(self) -> None:
        """Wait for the next of the two times by the system's clock as it is now."""
        self._clock.wait(self, self._expires if self._warn is None else min(self._expires, self._warn_at))

    def due(self) -> None:
        now = self._clock.time()
        if now >= self._expires:
            self._clock.leave(self)
            self._end()
            return
        if self._warn is not None and now >= self._warn_at:
            warn, self._warn = self._warn, None
            self.measure()  # first: a warning that fails must not keep the connection alive
            if not warn(self._expires - now):
                self._warn, self._warn_at = warn, now + WARN_AGAIN_SECONDS
                self.measure()
            return
        self.measure()
