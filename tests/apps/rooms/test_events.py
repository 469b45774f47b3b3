"""apps/rooms/events.py: the answers and events of rooms.v1.json, as its documentation shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsdaemon.apps.rooms import events
from wsdaemon.brokers.contract import Change, HistoryPage, Message, Notice, Presence, PresencePage, Published, Subscribed

ADA = Presence("m-1", {"name": "ada"})
BOB = Presence("m-2", {})


def message(offset: int, payload: bytes = b"hello", text: bool = True, publisher: str | None = "m-1") -> Message:
    return Message("lobby", "e1", offset, payload, text, 1_790_000_000.12345, publisher)


def read(event: Any) -> Any:
    return json.loads(events.encode(event))


def test_a_message_of_text() -> None:
    assert read(events.message_event(message(13))) == {
        "type": "message", "room": "lobby", "epoch": "e1", "offset": 13, "time": 1_790_000_000.123, "publisher": "m-1", "data": "hello",
    }  # fmt: skip


def test_a_binary_message_is_in_base64_and_the_server_has_no_id() -> None:
    event = events.message_event(message(1, b"\0\1\2", False, None))
    assert (event["encoding"], event["data"], event["publisher"]) == ("base64", "AAEC", None)


@pytest.mark.parametrize("data", ['quote " and \\', "é€😀", "\u2028", ""])
def test_text_comes_back_as_it_was(data: str) -> None:
    encoded = events.encode(events.message_event(message(1, data.encode())))
    assert json.loads(encoded)["data"] == data
    assert b": " not in encoded and b"\n" not in encoded


def test_a_lone_surrogate_that_a_client_sent_is_sent_back_as_an_escape() -> None:
    assert events.encode({"id": "\ud800"}) == b'{"id":"\\ud800"}'


def test_changes_of_one_kind_in_a_row_are_one_event() -> None:
    notice = Notice("lobby", (Change("joined", ADA), Change("joined", BOB), Change("left", ADA), Change("joined", ADA)))
    found = list(events.notice_events(notice))
    assert [(event["type"], [member["id"] for member in event["members"]]) for event in found] == [
        ("joined", ["m-1", "m-2"]),
        ("left", ["m-1"]),
        ("joined", ["m-1"]),
    ]
    assert found[0]["members"] == [{"id": "m-1", "identity": {"name": "ada"}}, {"id": "m-2", "identity": None}]


def test_an_answer_has_only_the_fields_that_say_something() -> None:
    assert events.subscribed(Subscribed("lobby", "e1", 2)) == {"room": "lobby", "epoch": "e1", "offset": 2, "messages": []}
    full = events.subscribed(Subscribed("lobby", "e1", 2, (message(1),), True, message(2), (ADA, BOB)))
    assert (full["gap"], full["latest"]["offset"], full["count"], len(full["present"])) == (True, 2, 2, 2)
    assert [one["offset"] for one in full["messages"]] == [1]


def test_only_so_many_members_are_named_but_all_are_counted() -> None:
    crowd = tuple(Presence(f"m-{number}", {}) for number in range(events.MAX_PRESENT + 5))
    answer = events.subscribed(Subscribed("lobby", "e1", 0, present=crowd))
    assert (answer["count"], len(answer["present"])) == (len(crowd), events.MAX_PRESENT)
    assert events.presence("lobby", PresencePage(5000, (ADA,))) == {
        "type": "presence", "room": "lobby", "count": 5000, "members": [{"id": "m-1", "identity": {"name": "ada"}}],
    }  # fmt: skip


def test_a_publication_and_one_that_the_policy_dropped() -> None:
    assert events.published("lobby", Published("e1", 13, False, 2)) == {
        "type": "published", "room": "lobby", "epoch": "e1", "offset": 13, "duplicate": False,
    }  # fmt: skip
    assert events.published("lobby", None) == {"type": "published", "room": "lobby", "dropped": True}


@pytest.mark.parametrize(
    ("offsets", "reverse", "more"),
    [([4, 5], False, True), ([4, 5, 6], False, False), ([6, 5], True, True), ([6, 5, 4], True, False), ([], False, False)],
)
def test_a_page_says_whether_there_is_more(offsets: list[int], reverse: bool, more: bool) -> None:
    page = HistoryPage("lobby", "e1", 6, 4)
    event = events.history(page, [message(offset) for offset in offsets], reverse)
    assert event.get("more", False) is more
    assert (event["first"], event["offset"], "gap" in event) == (4, 6, False)
    assert events.history(HistoryPage("lobby", "e1", 6, 4, gap=True), [], False)["gap"] is True


def test_a_gap_has_only_the_fields_that_say_something() -> None:
    assert events.gap_event(Subscribed("lobby", "e2", 40, gap=True), None) == {"type": "gap", "room": "lobby", "epoch": "e2", "offset": 40}
    full = events.gap_event(Subscribed("lobby", "e2", 40, (message(40),), True, None, (ADA, BOB)), "l*")
    assert (full["pattern"], full["count"], [who["id"] for who in full["present"]]) == ("l*", 2, ["m-1", "m-2"])
    assert full["messages"] == [events.message_event(message(40))]
