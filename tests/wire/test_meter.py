"""wire/meter.py: never more than the rate and the burst, and never a wait for a client that keeps to its rate."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.wire.meter import BURST_SECONDS, Meter

rates = st.sampled_from([0, 1, 3, 10, 1000, 1_000_000])
waits = st.one_of(st.just(0.0), st.floats(0, 5), st.sampled_from([0.1, 1.0, 100.0]))
ERROR = 1e-6
"""Relative: the meter reckons in floats."""


@given(messages_rate=rates, bytes_rate=rates, steps=st.lists(st.tuples(waits, st.integers(0, 200), st.integers(0, 20_000)), max_size=40))
def test_never_more_than_the_rate_and_a_burst(messages_rate: int, bytes_rate: int, steps: list[tuple[float, int, int]]) -> None:
    """A client that waits for the seconds that the meter returns never exceeds its rate and the burst."""
    start = now = 1000.0
    meter = Meter(messages_rate, bytes_rate, 0, now)
    messages = received = 0
    for wait, more_messages, more_bytes in steps:
        now += wait
        messages += more_messages
        received += more_bytes
        debt = meter.spend(messages, received, now)
        assert debt >= 0
        now += debt
        for sent, rate in ((messages, messages_rate), (received, bytes_rate)):
            assert not rate or sent <= rate * (BURST_SECONDS + now - start) * (1 + ERROR)


@given(messages_rate=rates, bytes_rate=rates, steps=st.lists(st.tuples(st.floats(0, BURST_SECONDS), *[st.floats(0, 1)] * 2), max_size=40))
def test_a_client_within_its_rate_is_never_slowed(messages_rate: int, bytes_rate: int, steps: list[tuple[float, float, float]]) -> None:
    """At each moment it sends at most what it could have since the one before; these are not further apart than a burst."""
    now = 1000.0
    meter = Meter(messages_rate, bytes_rate, 0, now)
    messages = received = 0
    for wait, share, other_share in steps:
        now += wait
        messages += int(messages_rate * wait * share)
        received += int(bytes_rate * wait * other_share)
        assert meter.spend(messages, received, now) == pytest.approx(0, abs=1e-6)


@given(rate=rates, steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300)), max_size=30))
def test_the_debt_is_exactly_what_is_not_earned_yet(rate: int, steps: list[tuple[int, int]]) -> None:
    """Against exact arithmetic. Times are tenths of seconds."""
    meter = Meter(rate, 0, 0, 0.0)
    tokens, now, spent = Fraction(rate) * 2, 0, 0
    for wait, count in steps:
        now += wait
        tokens = min(Fraction(rate) * 2, tokens + Fraction(rate * wait, 10)) - count
        spent += count
        expected = float(-tokens / rate) if rate and tokens < 0 else 0.0
        assert meter.spend(spent, 0, now / 10) == pytest.approx(expected, abs=1e-6)


@given(rate=st.integers(0, 50), waits=st.lists(waits, max_size=60))
def test_control_frames(rate: int, waits: list[float]) -> None:
    start = now = 1000.0
    meter = Meter(0, 0, rate, now)
    passed = 0
    for wait in waits:
        now += wait
        passed += meter.spend_control(now)
        assert not rate or passed <= rate * (BURST_SECONDS + now - start) * (1 + ERROR)
    assert rate or passed == len(waits)


def test_a_client_within_its_rate_may_send_control_frames_for_ever() -> None:
    meter = Meter(0, 0, 5, 0.0)
    assert all(meter.spend_control(number / 4.99) for number in range(1000))


def test_the_larger_debt_counts() -> None:
    meter = Meter(10, 1000, 0, 0.0)
    assert meter.spend(30, 0, 0.0) == 1.0
    assert meter.spend(30, 5000, 0.0) == 3.0
    assert meter.spend(30, 5000, 3.0) == 0


def test_a_rest_earns_no_more_than_a_burst() -> None:
    meter = Meter(10, 0, 0, 0.0)
    assert meter.spend(20, 0, 1_000_000.0) == 0
    assert meter.spend(21, 0, 1_000_000.0) == pytest.approx(0.1)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    meter = Meter(10, 0, 10, 100.0)
    assert meter.spend(20, 0, 50.0) == 0
    assert meter.spend(21, 0, 50.0) == pytest.approx(0.1)


def test_no_limit_at_all() -> None:
    meter = Meter(0, 0, 0, 0.0)
    assert meter.spend(10**9, 10**12, 0.0) == 0
    assert all(meter.spend_control(0.0) for _ in range(1000))
    assert not meter.counts_messages
    assert Meter(1, 0, 0, 0.0).counts_messages and Meter(0, 1, 0, 0.0).counts_messages


def test_a_client_that_went_on_sending_while_the_loop_was_away_has_earned_it() -> None:
    meter = Meter(10, 1000, 5, 0.0)
    assert meter.spend(620, 62_000, 60.0, 60.0) == 0
    assert all(meter.spend_control(60.0, 60.0) for _ in range(310))
    assert not meter.spend_control(60.0, 60.0)
    assert meter.spend(621, 62_000, 60.0, 60.0) == pytest.approx(0.1)


def test_a_client_that_was_quiet_meanwhile_keeps_no_more_than_a_burst() -> None:
    meter = Meter(10, 0, 0, 0.0)
    assert meter.spend(1, 0, 60.0, 60.0) == 0
    assert meter.spend(21, 0, 63.0) == 0
    assert meter.spend(22, 0, 63.0) == pytest.approx(0.1)
