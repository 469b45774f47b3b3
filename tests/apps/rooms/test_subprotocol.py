"""apps/rooms/subprotocol.py: rooms.v1.json, request by request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.rooms import Json, Seat, hall
from wsdaemon.apps.rooms.subprotocol import MAX_FAULTS
from wsdaemon.brokers.contract import Subscribed


def message(event: Json) -> Json:
    """A message event without what differs each time."""
    return {name: value for name, value in event.items() if name not in ("epoch", "time")}


def enter(seat: Seat, room: str = "lobby", **fields: Any) -> Json:
    answer = seat.ask("subscribe", room=room, **fields)
    assert answer["type"] == "subscribed", answer
    return answer


def test_subscribe_publish_and_messages() -> None:
    with hall() as made:
        a, b, plain = made.json(), made.json(), made.seat()
        answer = a.ask("subscribe", id=1, room="lobby")
        epoch = answer.pop("epoch")
        assert answer == {"type": "subscribed", "id": 1, "member": a.id, "room": "lobby", "offset": 0, "messages": []}
        assert len(epoch) == 16
        enter(b)
        b.take()
        assert a.ask("publish", id="x", room="lobby", data="grüße") == {
            "type": "published", "id": "x", "room": "lobby", "epoch": epoch, "offset": 1, "duplicate": False,
        }  # fmt: skip
        [event] = b.take_events()
        assert (event.pop("epoch"), event.pop("time") > 1e9) == (epoch, True)
        assert event == {"type": "message", "room": "lobby", "offset": 1, "publisher": a.id, "data": "grüße"}
        assert plain.sent == ["grüße"]
        plain.send(b"\x00\xff")
        [event] = b.take_events()
        assert message(event) == {
            "type": "message", "room": "lobby", "offset": 2, "publisher": plain.id, "encoding": "base64", "data": "AP8=",
        }  # fmt: skip


def test_binary_data_and_echo() -> None:
    with hall() as made:
        a, plain = made.json(), made.seat()
        enter(a)
        a.take()
        a.ask("publish", data="AP8=", encoding="base64", echo=True)
        assert plain.sent == [b"\x00\xff"]
        assert [event["type"] for event in a.take_events()] == ["published", "message"]


def test_the_room_of_the_path_is_meant_where_none_is_named() -> None:
    with hall() as made:
        a = made.json("lobby")
        assert a.ask("subscribe")["room"] == "lobby"
        assert a.ask("unsubscribe") == {"type": "unsubscribed", "room": "lobby"}
    with hall(policy={"parameters": ()}) as made:
        assert made.json().ask("subscribe", id=1)["code"] == "bad_message"


def test_many_rooms_on_one_connection() -> None:
    with hall() as made:
        a, b = made.json(), made.json()
        enter(a, "x")
        enter(a, "y")
        a.take()
        for room in ("x", "y", "z", "x"):
            b.ask("publish", room=room, data=room)
        assert [(event["room"], event["offset"]) for event in a.take_events()] == [("x", 1), ("y", 1), ("x", 2)]


def test_patterns() -> None:
    with hall(history=10) as made:
        a, b = made.json(), made.json()
        epoch = b.ask("publish", room="prices.eur", data="1")["epoch"]
        b.ask("publish", room="prices.eur", data="2")
        since = {"prices.eur": {"epoch": epoch, "offset": 0}, "prices.usd": {"epoch": "e", "offset": 3}}
        a.send(json.dumps({"type": "subscribe", "id": 1, "pattern": "prices.*", "since": since}))
        first, second, answer = a.take_events()
        assert [first["data"], second["data"]] == ["1", "2"]
        assert answer == {
            "type": "subscribed", "id": 1, "member": a.id, "pattern": "prices.*", "rooms": [
                {"room": "prices.eur", "epoch": epoch, "offset": 2, "messages": []},
                {"room": "prices.usd", "epoch": "", "offset": 0, "messages": [], "gap": True},
            ],
        }  # fmt: skip
        b.ask("publish", room="prices.gbp", data="3")
        b.ask("publish", room="prices", data="4")
        [event] = a.take_events()
        assert (event["room"], event["data"]) == ("prices.gbp", "3")
        assert a.ask("unsubscribe", pattern="prices.*") == {"type": "unsubscribed", "pattern": "prices.*"}
        b.ask("publish", room="prices.gbp", data="5")
        assert len(a.take()) == 1


def test_since_gives_what_was_missed_in_the_answer() -> None:
    with hall(history=3) as made:
        a, b = made.json(), made.json()
        answers = [b.ask("publish", data=str(number)) for number in range(5)]
        epoch = answers[0]["epoch"]
        answer = enter(a, since={"epoch": epoch, "offset": 2})
        assert [event["data"] for event in answer["messages"]] == ["2", "3", "4"]
        assert (answer["offset"], "gap" in answer) == (5, False)
        a.ask("unsubscribe")
        for since in ({"epoch": epoch, "offset": 1}, {"epoch": "other", "offset": 5}, {"epoch": epoch, "offset": 6}):
            answer = enter(a, since=since)
            assert (answer["gap"], answer["messages"], answer["offset"]) == (True, [], 5)
            a.ask("unsubscribe")


def test_latest_for_newcomers_and_after_a_gap() -> None:
    with hall(latest=True) as made:
        a, b = made.json(), made.json()
        b.ask("publish", data="1")
        b.ask("publish", data="2")
        assert enter(a)["latest"]["data"] == "2"
        a.ask("unsubscribe")
        assert enter(a, since={"epoch": "x", "offset": 1})["latest"]["data"] == "2"


def test_a_long_history_comes_as_events_before_the_answer() -> None:
    with hall(history=100, policy={"send_backlog": 2000}) as made:
        a, b = made.json(), made.json()
        epoch, *_ = [b.ask("publish", data=str(number))["epoch"] for number in range(40)]
        a.send(json.dumps({"type": "subscribe", "since": {"epoch": epoch, "offset": 0}}))
        *before, answer = a.take_events()
        assert [event["type"] for event in before] == ["message"] * len(before)
        assert [event["offset"] for event in (*before, *answer["messages"])] == list(range(1, 41))
        assert 0 < len(answer["messages"]) < 10


def test_an_idempotency_key() -> None:
    with hall() as made:
        a, b = made.json(), made.seat()
        first = a.ask("publish", id=1, data="x", key="k")
        again = made.json().ask("publish", id=1, data="x", key="k")
        assert again == {**first, "duplicate": True}
        assert b.sent == ["x"]


def test_keys_are_each_users_own() -> None:
    with hall() as made:
        ada, bob = made.json(who="ada"), made.json(who="bob")
        assert not ada.ask("publish", data="x", key="k")["duplicate"]
        assert not bob.ask("publish", data="x", key="k")["duplicate"]
        assert made.json(who="ada").ask("publish", data="x", key="k" * 128)["offset"] == 3
        assert made.json(who="ada").ask("publish", data="x", key="k")["duplicate"]


def test_a_break_is_an_event() -> None:
    with hall() as made:
        a = made.json()
        a.session.interrupted("lobby", Subscribed("lobby", "e2", 7, gap=True), "l*")
        assert a.events == [{"type": "gap", "room": "lobby", "epoch": "e2", "offset": 7, "pattern": "l*"}]
        assert a.closed is None


def test_presence() -> None:
    with hall() as made:
        a, b = made.json(who="ada"), made.seat()
        ada = {"id": a.id, "identity": {"name": "ada", "method": "jwt:test"}}
        answer = enter(a, presence=True)
        assert (answer["count"], answer["present"]) == (2, [{"id": b.id, "identity": None}, ada])
        a.take()
        c = made.json(who="eve")
        enter(c)
        eve = {"id": c.id, "identity": {"name": "eve", "method": "jwt:test"}}
        b.drop()
        c.drop()
        gone = [{"id": b.id, "identity": None}, eve]
        assert a.take_events() == [
            {"type": "joined", "room": "lobby", "members": [eve]},
            {"type": "left", "room": "lobby", "members": gone},
        ]
        assert a.ask("presence", id=3) == {"type": "presence", "id": 3, "room": "lobby", "count": 1, "members": [ada]}
        assert a.ask("presence", room="nowhere")["count"] == 0


def test_history_in_pages() -> None:
    with hall(history=5) as made:
        a = made.json()
        epoch, *_ = [a.ask("publish", data=str(number))["epoch"] for number in range(7)]
        page = a.ask("history", id=1, limit=2)
        assert (page["offset"], page["first"], [event["offset"] for event in page["messages"]], page["more"]) == (7, 3, [3, 4], True)
        page = a.ask("history", since={"epoch": epoch, "offset": 4})
        assert ([event["offset"] for event in page["messages"]], "more" in page, "gap" in page) == ([5, 6, 7], False, False)
        page = a.ask("history", limit=2, reverse=True)
        assert ([event["offset"] for event in page["messages"]], page["more"]) == ([7, 6], True)
        page = a.ask("history", since={"epoch": epoch, "offset": 4}, reverse=True)
        assert ([event["offset"] for event in page["messages"]], "more" in page) == ([3], False)
        assert a.ask("history", since={"epoch": epoch, "offset": 1})["gap"] is True
        made.app.rooms.page_bytes = 1
        page = a.ask("history")
        assert ([event["offset"] for event in page["messages"]], page["more"]) == ([3], True)


def test_ping_and_expiring() -> None:
    with hall() as made:
        a = made.json()
        assert a.ask("ping", id=9) == {"type": "pong", "id": 9}
        assert a.ask("ping") == {"type": "pong"}
        a.take()
        a.session.expiring(59.7)  # type: ignore[union-attr]
        assert a.take_events() == [{"type": "expiring", "seconds": 60}]


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("already_subscribed", {"type": "subscribe", "room": "lobby"}),
        ("room_full", {"type": "subscribe", "room": "full"}),
        ("too_many_subscriptions", {"type": "subscribe", "room": "third"}),
        ("too_many_patterns", {"type": "subscribe", "pattern": "b.*"}),
        ("bad_pattern", {"type": "subscribe", "pattern": "b*"}),
        ("bad_room", {"type": "subscribe", "room": "b b"}),
        ("bad_room", {"type": "publish", "room": "b>", "data": ""}),
        ("bad_room", {"type": "subscribe", "pattern": "c.*", "since": {"d": {"epoch": "e", "offset": 1}}}),
        ("not_subscribed", {"type": "unsubscribe", "room": "full"}),
        ("not_subscribed", {"type": "unsubscribe", "pattern": "b.*"}),
    ],
)
def test_errors_have_codes_and_the_connection_goes_on(code: str, fields: Json) -> None:
    with hall(max_members=2, max_subscriptions=2, max_patterns=1) as made:
        assert made.seat("full").closed is made.seat("full").closed is None
        a = made.json()
        enter(a)
        enter(a, "second")
        a.ask("subscribe", pattern="a.*")
        if fields.get("room") in ("full", "b b"):
            a.ask("unsubscribe", room="second")  # for there is room for two
        if fields.get("pattern") == "c.*":
            a.ask("unsubscribe", pattern="a.*")
        answer = a.ask(id="q", **fields)
        assert (answer["type"], answer["id"], answer["code"]) == ("error", "q", code)
        assert answer["message"]
        assert a.ask("ping")["type"] == "pong"


def test_the_rate_of_a_room() -> None:
    with hall(rate=0.5, burst=1) as made:
        a = made.json()
        a.ask("publish", data="1")
        answer = a.ask("publish", data="2")
        assert (answer["code"], answer["retry_after"]) == ("rate_limited", 2.0)


def test_who_may_not_publish() -> None:
    with hall(policy={"publish": "server"}) as made:
        assert made.json().ask("publish", data="1")["code"] == "forbidden"


def test_a_busy_room_makes_its_publisher_wait() -> None:
    with hall(max_pending=1) as made:
        a, b = made.json(), made.seat()
        assert a.session.received_payload(b'{"type":"publish","data":"1"}', True) is None
        a.send('{"type":"publish","data":"2"}')
        assert a.waiting is None
        assert [event["offset"] for event in a.events] == [1, 2]
        assert b.sent == ["1", "2"]


def test_what_is_no_request_is_answered_up_to_a_bound() -> None:
    with hall() as made:
        a = made.json()
        for _ in range(3):
            for _ in range(MAX_FAULTS):
                a.send("{")
            a.ask("ping")
        a.take()
        for _ in range(MAX_FAULTS + 1):
            a.send(b"binary")
        assert {event["code"] for event in a.events} == {"bad_message"}
        assert a.closed == (1008, "too_many_errors")


def test_a_client_that_does_not_read_is_not_read() -> None:
    with hall() as made:
        a = made.json()
        a.wire.congested = True
        a.send('{"type":"ping"}')
        assert a.waiting is not None
        a.read()
        assert a.sent and a.waiting is None


def test_answers_are_not_what_a_slow_client_loses() -> None:
    with hall(policy={"drops_messages": True}) as made:
        a = made.json()
        a.ask("ping")
        a.ask("ping")
        assert a.wire.prepared[0].key != a.wire.prepared[1].key


def test_one_who_leaves_is_out_of_everything() -> None:
    with hall() as made:
        a = made.json()
        enter(a, "x")
        a.ask("subscribe", pattern=">")
        a.drop()
        made.json().ask("publish", room="x", data="1")
        assert len(a.sent) == 2
        assert made.memory.presence("x").count == 0


def test_all_members_share_one_prepared_message() -> None:
    with hall() as made:
        seats = [made.json() for _ in range(3)]
        for seat in seats:
            enter(seat)
        made.seat().send("x")
        prepared = [seat.wire.prepared[-1] for seat in seats]
        assert prepared[0] is prepared[1] is prepared[2]
        assert prepared[0].key == "lobby"


def test_requests_have_a_rate_and_a_client_that_goes_on_is_closed() -> None:
    with hall(policy={"requests_per_second": 5.0}) as made:
        a = made.json()
        for _ in range(10):
            assert a.ask("ping")["type"] == "pong"
        answer = a.ask("ping", id=7)
        assert (answer["type"], answer["id"], answer["code"], answer["retry_after"]) == ("error", 7, "rate_limited", 0.2)
        assert a.waiting is not None  # nor is it read until the next request is allowed
        made.advance(0.2)
        assert a.waiting is None
        refused = 1
        while a.closed is None:
            answer = a.ask("ping")
            refused += answer["type"] == "error"
            made.advance(0.2 if a.waiting else 0.0)
        assert a.closed == (1008, "rate_limited") and refused == 11


def test_refusals_are_forgotten_after_a_pause() -> None:
    with hall(policy={"requests_per_second": 5.0}) as made:
        a = made.json()
        for _ in range(10):
            for _ in range(10):
                a.ask("ping")
            assert a.ask("ping")["code"] == "rate_limited"
            made.advance(2.4)
        assert a.closed is None


def test_what_is_no_request_counts_too() -> None:
    with hall(policy={"requests_per_second": 5.0}) as made:
        a = made.json()
        for number in range(10):
            a.send("[]" if number % 2 else '{"type":"ping"}')
        assert a.ask("ping")["code"] == "rate_limited"


def test_without_a_rate_there_is_no_limit() -> None:
    with hall(policy={"requests_per_second": 0.0}) as made:
        a = made.json()
        for _ in range(500):
            assert a.ask("ping")["type"] == "pong"


def test_a_storm_of_presence_reaches_watchers_as_a_notice_a_second() -> None:
    """One client that subscribes and unsubscribes as fast as it may, for ten seconds."""
    with hall() as made:
        watchers = [made.json() for _ in range(20)]
        for watcher in watchers:
            enter(watcher, presence=True)
        made.advance(60.0)
        for watcher in watchers:
            watcher.take()
        hostile, start = made.json("elsewhere"), made.now
        for number in range(2000):
            if hostile.closed is None:
                hostile.send(json.dumps({"type": "unsubscribe" if number % 2 else "subscribe", "room": "lobby"}))
            while hostile.waiting is not None:
                made.advance(0.02)
        assert hostile.closed == (1008, "rate_limited")
        made.advance(start + 10.0 - made.now)
        told = [len(watcher.sent) for watcher in watchers]
        assert max(told) <= 5 + 10 + 2
