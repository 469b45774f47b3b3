"""edge/shared_limits.py: the question for a place over all workers names every limit of the listener's own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, Loop, request
from tests.support.shared_places import FakePlaces, FakeRequest
from wsdaemon.core.identity import Identity
from wsdaemon.core.limits import Rate, Tally
from wsdaemon.core.registry import Count, Place
from wsdaemon.edge.candidate import Candidate, Entrance
from wsdaemon.edge.places import Places, Stay
from wsdaemon.edge.request import BadRequest, parse_head
from wsdaemon.edge.shared_limits import SharedLimits, SharedPlace


def ask(address: str | bytes | None = None, user: str | None = None, most: int = 9, **entrance: Any) -> FakeRequest:
    with Loop() as loop:
        places = FakePlaces(loop)
        limits = SharedLimits(
            places, "web", count=Count(most), in_all=Count(7), addresses=Tally(3), users=Tally(0), rate=Rate(4, 12), retry_after=6.0
        )
        candidate = Candidate(parse_head(request("/chat")), PEER, LOCAL, False, address)
        wires: Any = None
        identity = None if user is None else Identity(user, "test:way")
        limits.ask(candidate, Entrance("/chat", wires, Count(8), **entrance), identity)
        assert places.retry_after == 6.0
        return places.asked[0]


def names(asked: FakeRequest) -> dict[bytes, tuple[int, str]]:
    return {limit.name: (limit.most, limit.reason) for limit in asked.limits}


def test_all_of_the_daemon_the_listener_and_the_mount() -> None:
    asked = ask()
    assert names(asked) == {
        b"all": (7, "max_connections"), b"listener:web": (9, "max_connections"), b"mount:/chat": (8, "max_connections")
    }  # fmt: skip
    assert asked.rates == []
    assert b"listener:web" not in names(ask(most=0)), "0 is no limit"


def test_addresses_and_their_rates() -> None:
    asked = ask("192.0.2.7", addresses=Tally(2), rate=Rate(1, 3))
    assert names(asked)[b"address on listener:web\x00192.0.2.7"] == (3, "address_connections")
    assert names(asked)[b"address on mount:/chat\x00192.0.2.7"] == (2, "address_connections")
    assert [tuple(rate) for rate in asked.rates] == [
        (b"listener:web", b"192.0.2.7", 4, 12, "address_rate"), (b"mount:/chat", b"192.0.2.7", 1, 3, "address_rate")
    ]  # fmt: skip
    [ipv6] = [name for name in names(ask(b"\x20\x01\x0d\xb8\0\0\0\0")) if name.startswith(b"address")]
    assert ipv6 == b"address on listener:web\0\xff\x20\x01\x0d\xb8\0\0\0\0"


def test_users() -> None:
    asked = ask(user="ada", users=Tally(2))
    assert names(asked)[b"user on mount:/chat\0ada"] == (2, "user_connections")
    assert not any(name.startswith(b"user on listener") for name in names(asked)), "that has no limit"
    assert names(ask(user="", users=Tally(2))) == names(ask())
    assert b"user on mount:/chat\0\xed\xb2\x80" in names(ask(user="\udc80", users=Tally(2)))


def test_both_places_are_given_back_once() -> None:
    with Loop() as loop:
        count, asked = Count(5), FakeRequest(loop, [], [])
        place = SharedPlace(Place((count,)), asked)
        place.leave()
        place.leave()
        assert (count.now, asked.leaves) == (0, 1)


def taken(places: Places, entrance: Entrance, identity: Identity | None = None) -> tuple[Place, Candidate]:
    candidate = Candidate(parse_head(request("/chat")), PEER, LOCAL)
    return places.take(candidate, entrance, identity), candidate


def test_own_counts_are_asked_first() -> None:
    with Loop() as loop:
        fake, wires = FakePlaces(loop), Any
        count = Count(5)
        entrance = Entrance("/chat", wires, Count(1))  # type: ignore[arg-type]
        places = Places((count,), shared=SharedLimits(fake, "web", count=count, in_all=Count()))
        place, candidate = taken(places, entrance, Identity("ada", "test:way", expires=5.0))
        assert candidate.request is fake.asked[0]
        assert isinstance(place, Stay)
        with pytest.raises(BadRequest, match="max_connections"):
            taken(places, entrance)
        assert len(fake.asked) == 1
        place.leave()
        assert (count.now, entrance.count.now, fake.asked[0].leaves) == (0, 0, 1)


def test_a_connection_that_another_worker_hands_over_is_counted_under_the_same_names_and_at_no_rate() -> None:
    with Loop() as loop:
        places = FakePlaces(loop)
        limits = SharedLimits(places, "web", count=Count(9), in_all=Count(7), addresses=Tally(3), users=Tally(2), rate=Rate(4, 12))
        wires: Any = None
        served = Entrance("/chat", wires, Count(8))
        place = Places((Count(),), shared=limits).take_over("192.0.2.7", served, Identity("ada", "test:way"))
        [moved] = places.asked
        assert names(moved).keys() == names(ask("192.0.2.7", "ada")).keys() | {b"user on listener:web\0ada"}
        assert moved.rates == []
        assert (moved.answer.result(), served.count.total) == (None, 0)
        place.leave()
        assert moved.leaves == 1
