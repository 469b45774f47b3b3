"""Limits on single addresses and users: what is counted under which key, the rate's token bucket, and that nothing grows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.limits import AddressLimits, Rate, Tally, address_key, on_this_machine, too_many


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.51", "127.255.255.254", "::1", "unix"])
def test_who_connects_from_this_machine_is_not_counted(host: str) -> None:
    assert on_this_machine(host)
    assert make_limits().key(Peer(host, 5)) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "unix"])
def test_what_a_proxy_tells_is_counted_and_be_it_this_machine(host: str) -> None:
    """Or a client that gets a proxy to tell that would have no limits at all."""
    limits = make_limits()
    assert limits.told_key(Peer(host, 5)) == limits.named_key(Peer(host, 5)) == address_key(host) is not None


def test_a_trusted_proxy_that_hides_its_clients_is_counted_in_their_place() -> None:
    limits = make_limits()
    assert limits.told_key(Peer("10.1.2.3", 1)) == "10.1.2.3"
    assert limits.named_key(Peer("10.1.2.3", 1)) is None, "behind a balancer it has yet to tell who comes"


def test_an_ipv4_address_counts_alone() -> None:
    assert address_key("192.0.2.7") == address_key("192.0.2.7") != address_key("192.0.2.8")
    assert not on_this_machine("128.0.0.1")


def test_ipv6_addresses_of_one_64_count_together() -> None:
    assert address_key("2001:db8:1:2::1") == address_key("2001:db8:1:2:ffff:ffff:ffff:ffff")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("2001:DB8:1:2::1") == address_key("2001:db8:1:2:0::1")


def test_what_is_no_address_is_counted_as_it_is() -> None:
    assert address_key("fe80::1%eth0:nonsense") is not None


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


def make_limits(**limits: int) -> AddressLimits:
    values: dict[str, Any] = {"max_connections": 0, "max_handshakes": 0, "per_second": 0} | limits
    return AddressLimits(exempt=Networks.parse("10.0.0.0/8"), now=Clock(), **values)


def test_proxies_and_this_machine_are_exempt() -> None:
    limits = make_limits(max_connections=1)
    assert limits.key(Peer("10.1.2.3", 1)) is limits.key(Peer("127.0.0.1")) is limits.key(UNIX) is None
    assert limits.key(Peer("192.0.2.7")) == "192.0.2.7"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("max_connections", "address_connections"), ("max_handshakes", "address_handshakes"), ("per_second", "address_rate")],
)
def test_each_limit_has_its_reason(limit: str, reason: str) -> None:
    limits = make_limits(**{limit: 1})
    for _ in itertools.repeat(None, 3):
        if limits.begin("192.0.2.7") is not None:
            break
        if limit != "max_handshakes":
            limits.handshakes.leave("192.0.2.7")
        limits.connections.enter("192.0.2.7")
    else:
        assert limit == "per_second"  # a burst of three
    assert limits.begin("192.0.2.7") == reason
    assert limits.begin("192.0.2.8") is None


def test_what_is_refused_holds_nothing() -> None:
    limits = make_limits(max_handshakes=1)
    assert limits.begin("a") is None
    assert limits.begin("a") is not None
    limits.handshakes.leave("a")
    assert len(limits.handshakes) == 0


def test_the_answer_says_when_to_come_back() -> None:
    for seconds, said in ((0, "1"), (0.2, "1"), (5, "5"), (5.1, "6")):
        error = too_many("address_rate", seconds)
        assert error.status == 429
        assert error.headers == (("Retry-After", said),)
