"""core/limits.py: counts under keys, the rate's token bucket, and that nothing grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.limits import Rate, Tally


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_tally_forgets_who_has_nothing() -> None:
    tally = Tally(2)
    for _ in range(2):
        assert not tally.full("a")
        tally.enter("a")
    assert tally.full("a") and not tally.full("b")
    tally.leave("a")
    assert not tally.full("a") and tally.count("a") == 1
    tally.leave("a")
    tally.leave("a")  # once too often does no harm
    assert len(tally) == 0 and tally.count("a") == 0


def test_a_tally_without_a_limit_is_never_full() -> None:
    tally = Tally(0)
    for _ in range(1000):
        tally.enter("a")
    assert not tally.full("a")


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    rate = Rate(20, 60, now=clock)
    assert [rate.take("a") for _ in range(61)] == [True] * 60 + [False]
    assert rate.take("b")
    clock.now += 0.5
    assert [rate.take("a") for _ in range(11)] == [True] * 10 + [False]
    clock.now += 100
    assert [rate.take("a") for _ in range(61)] == [True] * 60 + [False]


def test_what_is_refused_takes_no_token() -> None:
    clock = Clock()
    rate = Rate(1, 1, now=clock)
    assert rate.take("a")
    for _ in range(100):
        assert not rate.take("a")
    clock.now += 1
    assert rate.take("a")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=80))
def test_the_rate_is_that_of_a_token_bucket(comings: list[tuple[str, float]]) -> None:
    clock = Clock()
    rate = Rate(4, 12, now=clock)
    tokens = dict.fromkeys("abc", 12.0)
    for key, pause in comings:
        clock.now += pause
        tokens = {each: min(12.0, left + pause * 4) for each, left in tokens.items()}
        if abs(tokens[key] - 1) < 1e-6:
            continue  # on the very edge rounding decides
        allowed = rate.take(key)
        assert allowed == (tokens[key] >= 1)
        tokens[key] -= allowed


def test_the_table_of_rates_is_bounded_and_keeps_the_latest() -> None:
    clock = Clock()
    rate = Rate(1, 3, most=100, now=clock)
    for number in range(10_000):
        assert rate.take(f"203.0.113.{number}")
        assert len(rate) <= 100
    assert [rate.take("203.0.113.9999") for _ in range(3)] == [True, True, False]


def test_the_table_of_rates_empties_itself() -> None:
    clock = Clock()
    rate = Rate(1, 3, now=clock)
    for number in range(1000):
        rate.take(f"203.0.113.{number}")
    clock.now += 10
    rate.take("a")
    assert len(rate) == 1


def test_an_attacker_with_a_steady_rate_stays_in_the_table() -> None:
    """Turning the tables must not hand out a fresh bucket."""
    clock = Clock()
    rate = Rate(1, 3, now=clock)
    taken = 0
    for _ in range(600):
        clock.now += 0.1
        taken += rate.take("a")
    assert taken <= 3 + 60


def test_connections_that_waited_while_the_loop_was_away_are_let_in() -> None:
    """An address that kept to its rate during a stop of a minute comes all at once afterwards; then its rate holds again."""
    clock, grace = Clock(), [0.0]
    rate = Rate(4, 12, now=clock, grace=lambda: grace[0])
    assert rate.take("a")
    clock.now += 60
    grace[0] = 60.0
    assert [rate.take("a") for _ in range(253)] == [True] * 252 + [False]
    assert rate.take("newcomer")
    clock.now += 2
    grace[0] = 0.0
    assert [rate.take("a") for _ in range(9)] == [True] * 8 + [False]


def test_a_grace_that_was_not_used_ends() -> None:
    clock, grace = Clock(), [60.0]
    rate = Rate(4, 12, now=clock, grace=lambda: grace[0])
    assert rate.take("a")
    grace[0] = 0.0
    clock.now += 5
    assert [rate.take("a") for _ in range(13)] == [True] * 12 + [False]
