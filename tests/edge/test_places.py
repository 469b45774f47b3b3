"""edge/places.py: places are taken all at once, or none, and given back once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, request
from wsdaemon.core.identity import Identity
from wsdaemon.core.limits import Tally
from wsdaemon.core.registry import Count, Place
from wsdaemon.edge.candidate import Candidate, Entrance
from wsdaemon.edge.places import KeyedPlace, Places, Stay
from wsdaemon.edge.request import BadRequest, parse_head

ADA = Identity("ada", "test:way")


def candidate(address: str | None = "192.0.2.7") -> Candidate:
    return Candidate(parse_head(request("/chat")), PEER, LOCAL, False, address)


def entrance(most: int = 0, **options: Any) -> Entrance:
    wires: Any = None
    return Entrance("/chat", wires, Count(most), **options)


def test_a_place_under_keys_is_given_back_once() -> None:
    tally, count = Tally(5), Count(5)
    place = KeyedPlace((count,), ((tally, "a"), (tally, "ada")))
    assert (count.now, tally.count("a"), tally.count("ada")) == (1, 1, 1)
    place.leave()
    place.leave()
    assert (count.now, len(tally)) == (0, 0)


@pytest.mark.parametrize(
    ("full", "status", "reason"),
    [
        ("mount", 503, "max_connections"),
        ("daemon", 503, "max_connections"),
        ("address", 429, "address_connections"),
        ("address here", 429, "address_connections"),
        ("user", 429, "user_connections"),
        ("user here", 429, "user_connections"),
    ],
)
def test_what_is_full_takes_no_place_elsewhere(full: str, status: int, reason: str) -> None:
    here, addresses, users = Count(full == "daemon"), Tally(full == "address"), Tally(full == "user")
    mount = entrance(full == "mount", addresses=Tally(full == "address here"), users=Tally(full == "user here"))
    places = Places((here,), addresses, users)
    first = places.take(candidate(), mount, ADA)
    with pytest.raises(BadRequest) as caught:
        places.take(candidate(), mount, ADA)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert (here.now, mount.count.now) == (1, 1)
    first.leave()
    assert (here.now, mount.count.now, len(addresses), len(users)) == (0, 0, 0, 0)
    places.take(candidate(), mount, ADA).leave()


def test_who_is_not_counted_is_not_refused() -> None:
    places, mount = Places((), Tally(1), Tally(1)), entrance()
    assert all(type(places.take(candidate(None), mount, identity)).__name__ == "Place" for identity in (None, Identity("", "http:x")) * 2)


class Expiry:
    cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_the_wait_for_the_end_of_a_token_ends_with_the_connection() -> None:
    count, expiry = Count(), Expiry()
    stay = Places((count,)).take(candidate(), entrance(), Identity("ada", "test:way", expires=5.0))
    assert isinstance(stay, Stay)
    stay.until(lambda: expiry)  # type: ignore[arg-type, return-value]
    stay.leave()
    stay.leave()
    assert (count.now, expiry.cancelled) == (0, 1)


def test_a_connection_that_is_over_waits_for_nothing() -> None:
    stay = Places(()).take(candidate(), entrance(), Identity("ada", "test:way", expires=5.0))
    assert isinstance(stay, Stay)
    stay.leave()
    stay.until(lambda: pytest.fail("the connection is over"))


def test_a_connection_of_another_process_has_its_place_and_no_other_total() -> None:
    here, mount = Count(5), entrance(2)
    places = Places((here,), Tally(1), Tally(2))
    place = places.take_over("192.0.2.7", mount, ADA)
    assert (here.now, here.total, mount.count.now, mount.count.total) == (1, 0, 1, 0)
    with pytest.raises(BadRequest) as refused:
        places.take_over("192.0.2.7", mount, ADA)
    assert refused.value.reason == "address_connections"
    place.leave()
    assert (here.now, mount.count.now) == (0, 0)


class FakeExpiry:
    warned = True
    cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_the_wait_for_the_end_of_a_token_ends_when_the_connection_leaves_and_begins_again_when_it_comes_back() -> None:
    count, expiry, later = Count(), FakeExpiry(), FakeExpiry()
    stay: Any = Stay(Place((count,)))
    assert not stay.warned
    stay.until(lambda: expiry)
    assert stay.warned
    stay.wait_no_longer()
    stay.wait_no_longer()
    assert (expiry.cancelled, stay.warned, count.now) == (1, False, 1)
    stay.until(lambda: later)
    stay.leave()
    assert (later.cancelled, count.now) == (1, 0)


def test_a_place_without_a_token_waits_for_nothing() -> None:
    place = Place((Count(),))
    assert not place.warned
    place.wait_no_longer()
