"""The end of a client's token: a warning before it, when asked, and then the end of its connection."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...core.wheel import Wheel

TOKEN_EXPIRED = 4401
"""The close code for a connection whose token has ended."""

TOKEN_EXPIRED_REASON = "token expired"  # noqa: S105 - no password

LONGEST_WAIT = 3600.0
"""Seconds between two looks at the clock: it is the system's, which may be set."""

WARN_AGAIN = 1.0
"""Seconds until a warning is tried again that nobody was there to hear."""


class Expiry:
    """Waits on the wheel for the end of one client's token. Only a client whose identity ends has one."""

    __slots__ = ("_end", "_expires", "_now", "_warn", "_warn_at", "_wheel", "due_bucket")

    def __init__(
        self,
        wheel: Wheel,
        expires: float,
        end: Callable[[], None],
        *,
        warning: float = 0.0,
        warn: Callable[[float], bool] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`expires` in seconds since 1970, as `now` gives them. `end` is called then, once. `warn` is called once, `warning` seconds
        before, with the seconds that are left; at once when there are fewer; never when `warning` is 0. When it answers False, for the
        connection is not open yet, it is called again a second later."""
        self._wheel = wheel
        self._expires = expires
        self._end = end
        self._warn = warn if warning > 0 else None
        self._warn_at = expires - warning
        self._now = now
        self.due_bucket = 0
        self._wait()

    def cancel(self) -> None:
        """The connection is over."""
        self._wheel.clear(self)

    def due(self) -> None:
        now = self._now()
        if now >= self._expires:
            self._end()
            return
        if self._warn is not None and now >= self._warn_at:
            warn, self._warn = self._warn, None
            self._wait()  # first: a warning that fails must not keep the connection alive
            if not warn(self._expires - now):
                self._warn, self._warn_at = warn, now + WARN_AGAIN
                self._wait()
            return
        self._wait()

    def _wait(self) -> None:
        following = self._expires if self._warn is None else min(self._expires, self._warn_at)
        self._wheel.set(self, min(max(0.0, following - self._now()), LONGEST_WAIT))
