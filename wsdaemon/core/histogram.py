"""Durations counted by how long they were: plain numbers, so that counting costs next to nothing and whoever wants them reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SHORT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bounds in seconds, for what should take milliseconds and may take seconds."""


class Histogram:
    """How many durations, in seconds, were up to each of the `bounds`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SHORT) -> None:
        """`bounds` in ascending order."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """For each bound those above the bound before it; the last is for what is longer than all."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
