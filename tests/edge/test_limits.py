"""edge/limits.py: the keys that addresses are counted under, and the limits of a listener on single addresses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.limits import AddressLimits, address_key, on_this_machine, too_many


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
