"""One timer for all connections: deadlines are kept in buckets, and only the earliest bucket has a timer of the loop.

A timer of the loop costs about 200 bytes and a heap operation each; with a hundred thousand connections that are pinged every
25 seconds that would be the largest cost of an idle connection. A bucket is a set, so leaving it early costs nothing either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .absence import AWAY_SECONDS, Absence, Clock, Handle
from .slices import SLICE_SECONDS

RESOLUTION_SECONDS = 0.05
"""The seconds of one bucket: a deadline is never early, and at most this much late."""


class Due(Protocol):
    """An item with a deadline. When it is due, the wheel removes it and calls `due()`."""

    due_bucket: int

    def due(self) -> None: ...


class Wheel:
    """The deadlines of many items, at most one for each.

    The wheel's clock stands still while the loop is away: a deadline counts the seconds in which the loop could have read an answer. If
    the process was stopped for an hour, each deadline moves by that hour, and the loop reads its sockets before the first one counts.
    `away` is the sum of these seconds. Rates ask `absence`, whose grace makes them fair to clients that went on sending.
    """

    __slots__ = ("_buckets", "_clock", "_failed", "_forgave", "_handle", "_now", "_ready", "_timer_bucket", "absence", "away")

    def __init__(self, clock: Clock, failed: Callable[[Due, Exception], None], now: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._failed = failed
        self._now = now
        self._buckets: dict[int, set[Due]] = {}
        self._ready: set[Due] = set()
        self._handle: Handle | None = None
        self._timer_bucket = 0
        self._forgave = False
        self.away = 0.0
        self.absence = Absence(clock)

    def __len__(self) -> int:
        return len(self._ready) + sum(map(len, self._buckets.values()))

    def time(self) -> float:
        """Now, in seconds of the loop's clock without those in which the loop was away."""
        return self._clock.time() - self.away

    def set(self, item: Due, delay: float) -> None:
        """Have item.due() called in `delay` seconds; replaces its earlier deadline."""
        bucket = int((self._clock.time() - self.away + delay) / RESOLUTION_SECONDS) + 1
        if item.due_bucket:
            if item.due_bucket == bucket:
                return
            self.clear(item)
        item.due_bucket = bucket
        members = self._buckets.get(bucket)
        if members is None:
            self._buckets[bucket] = {item}
            if self._handle is None or bucket < self._timer_bucket:
                self._arm(bucket)
        else:
            members.add(item)

    def clear(self, item: Due) -> None:
        """Forget the deadline of item, if it has one."""
        bucket, item.due_bucket = item.due_bucket, 0
        if not bucket:
            return
        members = self._buckets.get(bucket)
        if members is None or item not in members:
            self._ready.discard(item)
        else:
            members.remove(item)
            if not members:
                del self._buckets[bucket]

    def left(self, item: Due) -> float:
        """Seconds until item is due; 0 if it has no deadline."""
        return max(0.0, item.due_bucket * RESOLUTION_SECONDS - self.time())

    def stop(self) -> None:
        """Forget all deadlines."""
        self.absence.stop()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for members in [self._ready, *self._buckets.values()]:
            for item in members:
                item.due_bucket = 0
        self._buckets.clear()
        self._ready = set()

    def _arm(self, bucket: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._timer_bucket = bucket
        self._handle = self._clock.call_later(max(0.0, bucket * RESOLUTION_SECONDS - self.time()), self._turn)

    def _was_away(self) -> bool:
        """Whether the timer fires so late that the sockets must be read first. Then every deadline moves, once for each timer.

        Twice in a row would let a flood of work, which makes each turn of the loop long, hold off all deadlines for ever.
        """
        late = self.time() - self._timer_bucket * RESOLUTION_SECONDS
        self._forgave = late > AWAY_SECONDS and not self._forgave
        if self._forgave:
            self.away += late + RESOLUTION_SECONDS
        return self._forgave

    def _turn(self) -> None:
        self._handle = None
        if self._was_away():
            self._arm(self._timer_bucket)
            return
        # Exactly at a bucket's time the division may give the bucket before it, and a timer may fire a little early: turn it anyway.
        passed = max(self._timer_bucket, int(self.time() / RESOLUTION_SECONDS))
        for bucket in sorted(bucket for bucket in self._buckets if bucket <= passed):
            self._ready |= self._buckets.pop(bucket)
        end = self._now() + SLICE_SECONDS
        while self._ready:
            item = self._ready.pop()
            item.due_bucket = 0
            try:
                item.due()
            except Exception as error:  # an error of one connection must not stop the others' pings
                self._failed(item, error)
            if self._now() > end:
                break
        if self._ready:
            self._arm(passed)
        elif self._buckets:
            self._arm(min(self._buckets))
