"""Counts and rates under keys: how many of something each key has, and how often it may have another.

Everything is bounded. A count has an entry only while it is above zero. Rates are remembered in a table of fixed size, from which they go
by themselves, without a timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .absence import no_grace

Key = str | bytes
"""The key of a count: an IPv4 address as text, the first 8 bytes of an IPv6 address, the name of a user."""

MOST_RATES = 64 * 1024
"""Addresses whose rate is remembered. About 100 bytes each."""


class Tally:
    """How many of something each key has. `most` for one key; 0: no limit."""

    __slots__ = ("_now", "most")

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._now: dict[Key, int] = {}

    def __len__(self) -> int:
        """Keys that have any."""
        return len(self._now)

    def count(self, key: Key) -> int:
        return self._now.get(key, 0)

    def full(self, key: Key) -> bool:
        return 0 < self.most <= self._now.get(key, 0)

    def enter(self, key: Key) -> None:
        self._now[key] = self._now.get(key, 0) + 1

    def leave(self, key: Key) -> None:
        left = self._now.get(key, 0) - 1
        if left > 0:
            self._now[key] = left
        else:
            self._now.pop(key, None)


class Rate:
    """New connections per second for each key: a token bucket that holds `burst` and gets `per_second` new ones.

    A bucket is one number: the time at which it is full again. The keys are in two tables, and each key that takes a token is written into
    the young one. When the young table has half of `most`, or when every bucket of the old table must be full again, the old table is
    dropped and the young one takes its place. So a flood of other addresses drops those that were silent the longest.

    After the loop was away for `grace()` seconds, a key may take as many more tokens as it would have got in that time: its connections
    waited in the backlog, and the listener accepts all of them at once.
    """

    __slots__ = ("_grace", "_half", "_now", "_old", "_period", "_slack", "_step", "_turn_at", "_young", "burst", "per_second")

    def __init__(
        self, per_second: float, burst: float, most: int = MOST_RATES, now: Callable[[], float] = time.monotonic,
        grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self.per_second = per_second
        self.burst = burst
        self._step = 1 / per_second
        self._slack = (burst - 1) * self._step
        self._period = burst * self._step
        self._half = max(1, most // 2)
        self._now = now
        self._grace = grace
        self._young: dict[Key, float] = {}
        self._old: dict[Key, float] = {}
        self._turn_at = 0.0

    def __len__(self) -> int:
        """Entries in memory, at most `most`."""
        return len(self._young) + len(self._old)

    def take(self, key: Key) -> bool:
        """Take a token; False when there is none. A refused connection takes none."""
        now = self._now()
        young = self._young
        if now >= self._turn_at or len(young) >= self._half:
            young = self._turn(now)
        full_at = young.get(key)
        if full_at is None:
            full_at = self._old.get(key, 0.0)
        if full_at < now:
            full_at = max(full_at, now - self._grace())
        elif full_at - now > self._slack:
            return False
        young[key] = full_at + self._step
        return True

    def left(self, key: Key) -> float:
        """The tokens that there are now; one can be taken from 1 on. Without a grace there are `burst` at most."""
        now = self._now()
        return 1 + (self._slack - max(-self._grace(), self.full_at(key) - now)) / self._step

    def full_at(self, key: Key) -> float:
        """When the key has all of its tokens again; in the past if it has them."""
        found = self._young.get(key)
        return self._old.get(key, 0.0) if found is None else found

    def spent(self) -> list[Key]:
        """The keys that have not all of their tokens now."""
        now = self._now()
        return [key for key, full_at in {**self._old, **self._young}.items() if full_at > now]

    def restore(self, key: Key, full_at: float) -> None:
        """Go on from a `full_at` that another process had. A full table forgets as `take` does."""
        now = self._now()
        young = self._young
        if now >= self._turn_at or len(young) >= self._half:
            young = self._turn(now)
        young[key] = full_at

    def _turn(self, now: float) -> dict[Key, float]:
        # After one period every bucket that was not touched is full, so an entry of the old table says nothing that a missing one does not.
        quiet = now >= self._turn_at + self._period
        self._old = {} if quiet else self._young
        self._young = {}
        self._turn_at = now + self._period
        return self._young
