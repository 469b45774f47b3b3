"""How many passwords each client address may have checked: so many wrong ones a minute, and so many at once.

Who guesses passwords gets nowhere in a minute, and who wants the hashing for himself alone gets a part of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..limits import Key, Rate, Tally
from .contract import Denied

FAILURES = "auth_failures"
BUSY = "auth_address_busy"


class Guesses:
    """A check that is under way is taken for a wrong password until it ends, so guesses side by side are no more than guesses in a row.

    Everything is bounded: there is a count only for who has a check under way, and the failures are in a table of fixed size.
    """

    __slots__ = ("_failures", "_running", "_seconds")

    def __init__(self, per_minute: int, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute`: wrong passwords of one address; 0: no limit. `at_once`: checks of one address that may be under way."""
        self._failures = Rate(per_minute / 60, per_minute, now=clock) if per_minute else None
        self._running = Tally(at_once)
        self._seconds = 60 / per_minute if per_minute else 0.0

    def check(self, address: Key) -> None:
        """Denied (429, RFC 6585 4) when the address may not have another password checked now."""
        at_once = self._running.most
        if self._failures is not None:
            left = self._failures.left(address)
            if left < 1:
                raise _too_many(FAILURES, (1 - left) * self._seconds, "Too many wrong passwords from this address.")
            at_once = min(at_once, int(left))
        if self._running.count(address) >= at_once:
            raise _too_many(BUSY, 1, "Too many passwords from this address are being checked at this moment.")

    def begin(self, address: Key) -> None:
        """A check begins; `end` is due once."""
        self._running.enter(address)

    def end(self, address: Key, wrong: bool) -> None:
        self._running.leave(address)
        if wrong and self._failures is not None:
            self._failures.take(address)


def _too_many(reason: str, retry_after: float, detail: str) -> Denied:
    return Denied(reason, 429, (("Retry-After", str(max(1, math.ceil(retry_after)))),), detail)
