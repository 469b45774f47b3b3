"""command/histogram.py: percentiles of many durations in bounded memory."""

from __future__ import annotations

import random

import pytest

from wsdaemon.command.histogram import _BUCKETS, LONGEST_SECONDS, PRECISE, UNITS_PER_SECOND, LatencyHistogram, _bucket, _greatest


def test_buckets_follow_each_other_without_a_gap() -> None:
    previous = -1
    for index in range(_BUCKETS):
        least, greatest = previous + 1, _greatest(index)
        assert _bucket(least) == _bucket(greatest) == index
        assert greatest - least <= least / (PRECISE / 2)
        previous = greatest
    assert previous >= LONGEST_SECONDS * UNITS_PER_SECOND


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_those_of_the_sorted_durations(seed: int) -> None:
    draw = random.Random(seed)
    durations = sorted(draw.lognormvariate(-6, 2) for _ in range(5000))
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = durations[max(0, int(-(-len(durations) * percent // 100)) - 1)]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.002, abs=2e-6)
    assert histogram.mean == pytest.approx(sum(durations) / len(durations))
    assert (histogram.shortest, histogram.longest) == (durations[0], durations[-1])


def test_extremes_have_a_bucket() -> None:
    histogram = LatencyHistogram()
    for seconds in (-1.0, 0.0, 1e9):
        histogram.add(seconds)
    assert (histogram.count, histogram.shortest, histogram.longest) == (3, 0.0, LONGEST_SECONDS)
    assert histogram.percentile(100) == LONGEST_SECONDS


def test_nothing_has_no_percentiles() -> None:
    assert LatencyHistogram().percentile(99) == 0.0
    assert LatencyHistogram().mean == 0.0
