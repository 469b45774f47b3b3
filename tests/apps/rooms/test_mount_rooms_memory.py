"""Rooms' memory and shares, as clients meet them; what counts is in brokers/budget.py."""

from __future__ import annotations

from tests.support.rooms import hall
from wsdaemon.brokers.room import room_cost
from wsdaemon.core.handshake import Peer

ONE, OTHER = Peer("192.0.2.1", 1), Peer("192.0.2.2", 1)


def test_one_address_cannot_take_all_rooms_and_newcomers_come_in() -> None:
    with hall(max_rooms=80, max_subscriptions=100, policy={"requests_per_second": 0.0}) as made:
        hostile = [made.json(peer=ONE) for _ in range(3)]
        answers = [seat.ask("subscribe", room=f"{number}-{part}") for number, seat in enumerate(hostile) for part in range(30)]
        assert [answer["type"] for answer in answers].count("subscribed") == 10
        assert {answer.get("code") for answer in answers[10:]} == {"too_many_rooms"}
        assert "this address or user has 10 rooms" in answers[-1]["message"]
        assert made.json(peer=OTHER).ask("subscribe", room="new")["type"] == "subscribed"
        assert made.seat("plain", peer=OTHER).closed is None
        assert made.seat("another", peer=ONE).closed == (1013, "too_many_rooms")


def test_users_of_one_address_have_a_share_each() -> None:
    with hall(max_rooms=16) as made:
        ada, bob = made.json(who="ada", peer=ONE), made.json(who="bob", peer=ONE)
        for seat in (ada, bob):
            assert [seat.ask("subscribe", room=f"{seat.id}-{number}")["type"] for number in range(3)] == ["subscribed"] * 2 + ["error"]
        assert made.json(who="ada", peer=OTHER).ask("subscribe", room="x")["code"] == "too_many_rooms"


def test_addresses_of_one_ipv6_network_share() -> None:
    with hall(max_rooms=16) as made:
        seats = [made.json(peer=Peer(f"2001:db8:0:1::{number}", 1)) for number in range(1, 4)]
        assert [seat.ask("subscribe", room=seat.id)["type"] for seat in seats] == ["subscribed"] * 2 + ["error"]
        assert made.json(peer=Peer("2001:db8:0:2::1", 1)).ask("subscribe", room="x")["type"] == "subscribed"


def test_memory_that_is_used_up_is_an_error_and_a_close_code() -> None:
    with hall(memory=80_000, latest=True) as made:
        a, b = made.json("a", peer=ONE), made.json("b", peer=ONE)
        for seat in (a, b):
            assert seat.ask("subscribe")["type"] == "subscribed"
        assert a.ask("publish", data="x" * 5000)["type"] == "published"
        answer = b.ask("publish", id=4, data="x" * 5000)
        assert (answer["code"], answer["id"]) == ("memory", 4)
        assert answer["message"] == "this address or user holds an eighth of the rooms' memory, 10000 bytes, and may hold no more"
        plain = made.seat("b", peer=ONE)
        plain.send("x" * 5000)
        assert plain.closed == (1013, "memory")
        assert made.json("b", peer=OTHER).ask("publish", data="x" * 5000)["type"] == "published"


def test_publishers_that_wait_have_a_bound() -> None:
    """A room that takes no more holds its publishers, and what these hold counts."""
    with hall(memory=400_000, max_pending=1, policy={"waits": True}) as made:
        slow = made.seat("room", peer=OTHER)
        slow.wire.queued = slow.wire.congested = True
        first = made.seat("room", peer=OTHER)
        first.send("first")
        seats = [made.json("room", peer=ONE) for _ in range(8)]
        for seat in seats:
            seat.send('{"type":"publish","data":"' + "x" * 10_000 + '"}')
        waiting = [seat for seat in seats if seat.waiting is not None]
        refused = [seat for seat in seats if seat.waiting is None]
        assert len(waiting) == 4 and [seat.events[0]["code"] for seat in refused] == ["memory"] * 4
        slow.read()
        assert all(seat.events[-1]["type"] == "published" for seat in waiting)
        made.loop.settle()
        assert made.app.rooms.crowded == {}
        for seat in (*seats, slow, first):
            seat.drop()
        assert {account.bytes for account in made.memory.budget._accounts.values()} <= {0, room_cost("room")}
