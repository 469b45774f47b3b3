"""core/rate.py: token buckets."""

from __future__ import annotations

import pytest

from wsdaemon.core.rate import TokenBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(3.0, 2.0, 0.0)
    assert bucket.take(0.0) == bucket.take(0.0) == 0
    wait = bucket.take(0.0)
    assert wait == pytest.approx(1 / 3)
    assert bucket.take(wait) == 0  # waiting for as long as it said is enough
    assert bucket.take(100.0) == bucket.take(100.0) == 0
    assert bucket.take(100.0) > 0


def test_a_bucket_is_full_after_a_pause() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert bucket.is_full(0.0)
    bucket.take(0.0)
    assert not bucket.is_full(0.25) and bucket.is_full(0.5)


def test_a_bucket_earns_above_its_burst_what_came_while_the_loop_was_away() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    for _ in range(124):
        assert bucket.take(60.0, 60.0) == 0
    assert bucket.take(60.0, 60.0) > 0
    assert bucket.take(60.5) == 0


def test_tokens_that_are_not_taken_within_the_grace_are_lost() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert bucket.take(60.0, 60.0) == 0
    for _ in range(4):
        assert bucket.take(63.0) == 0
    assert bucket.take(63.0) > 0


def test_another_process_goes_on_from_the_state_of_a_bucket() -> None:
    bucket, other = TokenBucket(1.0, 3.0, 0.0), TokenBucket(1.0, 3.0, 0.0)
    assert [bucket.take(10.0) for _ in range(3)] == [0, 0, 0]
    other.restore(*bucket.state())
    assert other.take(10.5) == bucket.take(10.5) == pytest.approx(0.5)
