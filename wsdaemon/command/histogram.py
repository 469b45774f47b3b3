"""A histogram of durations in bounded memory, after HdrHistogram: buckets that are at most 0.1 % wide."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

PRECISE = 2048
"""Values below this have a bucket each; above it, each doubling has half as many."""

HALF = PRECISE // 2

LONGEST_SECONDS = 3600.0
"""A longer duration counts as this."""

UNITS_PER_SECOND = 1_000_000
"""Buckets count microseconds."""

_SHIFT = PRECISE.bit_length() - 1
_BUCKETS = PRECISE + HALF * ((int(LONGEST_SECONDS) * UNITS_PER_SECOND).bit_length() - _SHIFT)


class LatencyHistogram:
    """Counts durations: 24,000 buckets from a microsecond to an hour, 190 KB, however many durations there are."""

    __slots__ = ("_counts", "count", "longest", "shortest", "total")

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self.count = 0
        self.total = 0.0
        self.shortest = float("inf")
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration. Less than nothing counts as nothing, because two clocks are compared."""
        seconds = min(max(seconds, 0.0), LONGEST_SECONDS)
        self._counts[_bucket(int(seconds * UNITS_PER_SECOND))] += 1
        self.count += 1
        self.total += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)

    def percentile(self, percent: float) -> float:
        """The seconds within which `percent` of the durations lie: the upper end of a bucket, at most the longest. 0 if there are none."""
        wanted = max(1, -(-self.count * percent // 100))
        seen = 0
        for value, count in self._filled():
            seen += count
            if seen >= wanted:
                return min((value + 1) / UNITS_PER_SECOND, self.longest)
        return self.longest

    @property
    def mean(self) -> float:
        """The mean in seconds; 0 if there are no durations."""
        return self.total / self.count if self.count else 0.0

    def _filled(self) -> Iterator[tuple[int, int]]:
        """The greatest value of each bucket that counts something, and its count."""
        for index, count in enumerate(self._counts):
            if count:
                yield _greatest(index), count


def _bucket(value: int) -> int:
    """The index of a value's bucket."""
    if value < PRECISE:
        return value
    shift = value.bit_length() - _SHIFT
    return PRECISE + (shift - 1) * HALF + ((value >> shift) - HALF)


def _greatest(index: int) -> int:
    """The greatest value of a bucket."""
    if index < PRECISE:
        return index
    shift, place = divmod(index - PRECISE, HALF)
    return ((place + HALF + 1) << (shift + 1)) - 1
