"""Publications in the hub: sources that are known, and what is forgotten of them."""

from __future__ import annotations

import pytest

from tests.hub.test_rooms import Order, given
from wsdaemon.brokers import Limits, errors


def test_two_workers_may_have_the_same_source() -> None:
    """A publisher that comes back with another worker has the source that it had, and that worker has numbers of its own."""
    made = Order(Limits(history=10))
    one, two = made.link("one"), made.link("two")
    made.join(two, "lobby", "ada")
    answers = [made.publish(link, number, "lobby", b"x", publisher="ada") for number in (1, 2) for link in (one, two, one)]
    assert [answer.offset for answer in answers] == [1, 2, 1, 3, 4, 3]
    assert len(given(two)) == 4


def test_a_publication_that_was_refused_is_placed_when_it_is_asked_again() -> None:
    made = Order(Limits(rate=1.0, burst=1))
    one = made.link("one")
    assert made.publish(one, 1, "lobby").offset == 1
    with pytest.raises(errors.RateLimited):
        made.publish(one, 2, "lobby")
    made.now += 1
    assert [made.publish(one, 2, "lobby").offset for _ in range(2)] == [2, 2]


def test_a_room_that_was_forgotten_begins_anew_for_a_known_source() -> None:
    made = Order(Limits(history=2, history_age=1.0))
    one = made.link("one")
    for number in (1, 2):
        assert made.publish(one, number, "lobby", b"x").offset == number
    made.now += 1000
    while made.order.sweep(1000):
        pass
    made.order.sweep(1000)
    assert "lobby" not in set(made.order.table)
    assert made.publish(one, 3, "lobby", b"x").offset == 1
    assert made.order.history("lobby", None, 10, False).offset == 1


def test_a_publication_that_is_not_kept_needs_no_memory_here() -> None:
    """Members have it from their workers. Only a room without members, or with a history, keeps it."""
    made = Order(Limits(memory=20_000))
    one = made.link("one")
    made.join(one, "lobby", "ada")
    assert made.publish(one, 1, "lobby", bytes(100_000)).offset == 1
    with pytest.raises(errors.MemoryFull):
        made.publish(one, 2, "lobby", bytes(100_000), key="k")
    kept = Order(Limits(memory=20_000, history=1))
    one = kept.link("one")
    kept.join(one, "lobby", "ada")
    with pytest.raises(errors.MemoryFull):
        kept.publish(one, 1, "lobby", bytes(100_000))
    assert kept.order.table["lobby"].offset == 0


def test_a_room_is_not_made_for_a_publication_that_is_refused() -> None:
    made = Order(Limits(memory=20_000))
    one = made.link("one")
    with pytest.raises(errors.MemoryFull):
        made.publish(one, 1, "lobby", bytes(100_000))
    assert not len(made.order.table) and not made.order.budget.used
    assert made.publish(one, 1, "lobby", b"x").offset == 1
