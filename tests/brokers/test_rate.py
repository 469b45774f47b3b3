"""brokers/rate.py: token buckets."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import RateLimited
from wsdaemon.brokers.rate import RateBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = RateBucket(3.0, 2.0, 0.0, "the room takes 3 publications a second")
    bucket.take(0.0)
    bucket.take(0.0)
    with pytest.raises(RateLimited) as refused:
        bucket.take(0.0)
    assert refused.value.retry_after == pytest.approx(1 / 3)
    bucket.take(refused.value.retry_after)  # waiting for as long as it said is enough
    bucket.take(100.0)
    bucket.take(100.0)
    with pytest.raises(RateLimited):
        bucket.take(100.0)
    assert str(refused.value) == "the room takes 3 publications a second"


def test_a_bucket_is_full_after_a_pause() -> None:
    bucket = RateBucket(2.0, 4.0, 0.0, "")
    assert bucket.is_full(0.0)
    bucket.take(0.0)
    assert not bucket.is_full(0.25) and bucket.is_full(0.5)


def test_a_bucket_earns_above_its_burst_what_came_while_the_loop_was_away() -> None:
    bucket = RateBucket(2.0, 4.0, 0.0, "")
    for _ in range(124):
        bucket.take(60.0, 60.0)
    with pytest.raises(RateLimited):
        bucket.take(60.0, 60.0)
    bucket.take(60.5)


def test_what_is_not_taken_within_the_grace_is_lost() -> None:
    bucket = RateBucket(2.0, 4.0, 0.0, "")
    bucket.take(60.0, 60.0)
    for _ in range(4):
        bucket.take(63.0)
    with pytest.raises(RateLimited):
        bucket.take(63.0)
