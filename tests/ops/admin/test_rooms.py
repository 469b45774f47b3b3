"""ops/admin/rooms.py: rooms from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.admin import ask, problem
from tests.support.outside import Member, Outside
from wsdaemon.ops.admin import rooms as rooms_module
from wsdaemon.ops.admin.rooms import RoomsPages, own_key
from wsdaemon.ops.admin.site import AdminSite

TEXT = "Content-Type: text/plain"

# -- publishing one


def test_a_message_reaches_the_members() -> None:
    outside, member = Outside(), Member("m-1")
    outside.broker.subscribe("a/é", member)
    answer = outside.post("/api/rooms/a%2F%C3%A9/messages", b"hello", TEXT)
    epoch = answer.pop("epoch")
    assert answer == {"room": "a/é", "offset": 1, "duplicate": False, "members": 1}
    [message] = member.messages
    assert (message.payload, message.text, message.publisher, message.content_type) == (b"hello", True, None, "text/plain")
    assert message.epoch == epoch


@pytest.mark.parametrize(
    ("content_type", "text", "kept"),
    [
        ("text/plain", True, "text/plain"),
        ("TEXT/HTML; charset=UTF-8", True, "TEXT/HTML; charset=UTF-8"),
        ("application/json", True, "application/json"),
        ("application/vnd.api+json", True, "application/vnd.api+json"),
        ("image/svg+xml", True, "image/svg+xml"),
        ("application/x-www-form-urlencoded", True, None),
        ("application/octet-stream", False, "application/octet-stream"),
        ("image/png", False, "image/png"),
        (None, False, None),
    ],
)
def test_the_type_says_what_is_text(content_type: str | None, text: bool, kept: str | None) -> None:
    outside = Outside()
    outside.post("/api/rooms/a/messages", b"{}", *([] if content_type is None else [f"Content-Type: {content_type}"]))
    [message] = outside.broker.history("a").messages
    assert (message.text, message.content_type) == (text, kept)


def test_text_must_be_utf_8() -> None:
    outside = Outside()
    assert problem(outside.ask("POST /api/rooms/a/messages", TEXT, body=b"\xff")) == (400, "not_utf8")
    assert problem(outside.ask("POST /api/rooms/a/messages", TEXT + "; charset=latin1", body=b"x")) == (415, "charset")
    assert problem(outside.ask("POST /api/rooms/a/messages", "Content-Type: " + "x" * 300, body=b"x")) == (400, "bad_parameter")
    assert outside.broker.room_count == 0


def test_the_same_key_is_the_same_message() -> None:
    outside = Outside()
    first = outside.post("/api/rooms/a/messages", b"x", "Idempotency-Key: k")
    again = outside.post("/api/rooms/a/messages", b"x", "Idempotency-Key: k")
    assert again == {**first, "duplicate": True}
    assert outside.post("/api/rooms/b/messages", b"x", "Idempotency-Key: k")["duplicate"] is False
    for lines in (["Idempotency-Key: "], ["Idempotency-Key: " + "k" * 257], ["Idempotency-Key: a", "Idempotency-Key: a"]):
        assert problem(outside.ask("POST /api/rooms/a/messages", *lines, body=b"x")) == (400, "bad_parameter")


def test_no_client_can_have_a_key_from_outside() -> None:
    """Those of clients have up to 128 characters, behind 33 that say whose they are where that is known."""
    made = own_key("k")
    assert made is not None
    assert 128 < len(made) <= 256
    assert made[32] != ":"
    assert own_key(None) is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"rate": 0.001, "burst": 1}, (429, "rate_limited")),
        ({"max_rooms": 1}, (503, "too_many_rooms")),
        ({"max_name": 3}, (400, "bad_room")),
    ],
)
def test_what_the_broker_refuses(limits: dict[str, Any], expected: tuple[int, str]) -> None:
    outside = Outside(**limits)
    outside.broker.subscribe("a", Member("m-1"))
    outside.post("/api/rooms/a/messages", b"x")
    answer = outside.ask(
        "POST /api/rooms/" + {"rate_limited": "a", "too_many_rooms": "b", "bad_room": "long"}[expected[1]] + "/messages", body=b"x"
    )
    assert problem(answer) == expected
    assert ("Retry-After" in dict(answer.headers)) is (expected[0] != 400)
    if expected[0] == 429:
        assert 900 < int(dict(answer.headers)["Retry-After"]) <= 1000


def test_busy_closed_and_too_big() -> None:
    outside = Outside(max_message=3)
    assert problem(outside.ask("POST /api/rooms/a/messages", body=b"1234")) == (413, "message_too_big")
    next(iter(outside.rooms.values())).busy = True
    assert problem(outside.ask("POST /api/rooms/a/messages", body=b"1")) == (503, "busy")
    outside.broker.close()
    assert problem(outside.ask("GET /api/rooms/a/messages")) == (503, "closed")
    assert problem(Outside(closed=True).ask("POST /api/rooms/a/messages", body=b"1")) == (403, "forbidden")


# -- which mount


def test_the_mount_must_be_clear() -> None:
    outside = Outside("/a/{room}", "/b/{room}")
    assert problem(outside.ask("POST /api/rooms/x/messages", body=b"1")) == (404, "no_mount")
    assert problem(outside.ask("POST /api/rooms/x/messages?mount=/c", body=b"1")) == (404, "no_mount")
    outside.post("/api/rooms/x/messages?mount=/b/%7Broom%7D", b"1")
    assert [rooms.broker.room_count for rooms in outside.rooms.values()] == [0, 1]
    pages = RoomsPages([], Outside()).pages()
    assert problem(ask(AdminSite(pages, lambda: None, "1"), "GET /api/rooms")) == (404, "no_mount")


# -- looking


def test_history_page_by_page() -> None:
    outside = Outside()
    for number in range(5):
        outside.broker.publish("a", str(number).encode(), number != 3)
    epoch = outside.broker.history("a").epoch
    page = outside.get("/api/rooms/a/messages?limit=2")
    first = {"offset": 1, "time": 1790000000.123, "publisher": None, "data": "0"}
    assert page == {
        "room": "a",
        "epoch": epoch,
        "offset": 5,
        "first": 1,
        "messages": [first, {**first, "offset": 2, "data": "1"}],
        "more": True,
    }
    page = outside.get(f"/api/rooms/a/messages?since={epoch}:2")
    assert [message["data"] for message in page["messages"]] == ["2", "Mw==", "4"]
    assert page["messages"][1]["encoding"] == "base64" and "more" not in page
    page = outside.get(f"/api/rooms/a/messages?since={epoch}:3&reverse=true&limit=1")
    assert [message["offset"] for message in page["messages"]] == [2] and page["more"]
    assert outside.get("/api/rooms/a/messages?since=other:2")["gap"] is True
    assert outside.get("/api/rooms/nobody/messages") == {"room": "nobody", "epoch": "", "offset": 0, "first": 1, "messages": []}


def test_a_page_of_history_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "PAGE_BYTES", 25)
    outside = Outside()
    for _ in range(4):
        outside.broker.publish("a", b"x" * 10, True)
    page = outside.get("/api/rooms/a/messages")
    assert len(page["messages"]) == 2 and page["more"]
    outside.broker.publish("b", b"x" * 100, True)
    assert len(outside.get("/api/rooms/b/messages")["messages"]) == 1


@pytest.mark.parametrize("query", ["since=1", "since=a:b:1", "since=a:x", "limit=0", "limit=1001", "reverse=1", "since="])
def test_bad_questions(query: str) -> None:
    assert problem(Outside().ask(f"GET /api/rooms/a/messages?{query}")) == (400, "bad_parameter")


def test_who_is_there() -> None:
    outside = Outside()
    outside.broker.subscribe("a", Member("m-1", name="ada", method="basic:staff"))
    outside.broker.subscribe("a", Member("m-2"))
    everyone = [{"id": "m-1", "identity": {"name": "ada", "method": "basic:staff"}}, {"id": "m-2", "identity": None}]
    assert outside.get("/api/rooms/a/members") == {"room": "a", "count": 2, "members": everyone}
    assert outside.get("/api/rooms/a/members?limit=1") == {"room": "a", "count": 2, "members": everyone[:1]}
    assert outside.get("/api/rooms/b/members") == {"room": "b", "count": 0, "members": []}
    assert outside.broker.member_count == 2


def test_the_list_of_rooms() -> None:
    outside = Outside()
    for name in ("a.x", "a.y", "b.x"):
        outside.broker.publish(name, b"", True)
    names = [room["room"] for room in outside.get("/api/rooms?pattern=a.*")["rooms"]]
    assert names == ["a.x", "a.y"]
    page = outside.get("/api/rooms?limit=1&after=a.x")
    assert page["after"] == "a.y" and page["rooms"][0].keys() == {"room", "epoch", "offset", "members", "held"}
    for pattern in ("a*", "%3E.a", "*.*b"):
        assert problem(outside.ask(f"GET /api/rooms?pattern={pattern}")) == (400, "bad_parameter")
    assert outside.get("/api/rooms?pattern=%3E")["rooms"]


# -- sending away


def test_a_member_is_sent_away() -> None:
    outside = Outside()
    outside.broker.subscribe("a", Member("m-1"))
    answer = outside.ask("DELETE /api/rooms/a/members/m-1")
    assert (answer.status, json.loads(answer.body)) == (200, {"room": "a", "member": "m-1", "code": 4403})
    outside.ask("DELETE /api/rooms/a/members/m-1?code=4001&reason=spam")
    assert outside.dismissed == [("m-1", 4403, "removed"), ("m-1", 4001, "spam")]


def test_nobody_is_sent_away() -> None:
    outside = Outside()
    outside.broker.subscribe("a", Member("m-2"))
    assert problem(outside.ask("DELETE /api/rooms/a/members/m-1")) == (404, "no_member")
    assert problem(outside.ask("DELETE /api/rooms/b/members/m-2")) == (404, "no_member")
    assert problem(outside.ask("DELETE /api/rooms/a/members/m-2?code=1000")) == (400, "bad_parameter")
    assert outside.dismissed == []
    assert problem(outside.ask("DELETE /api/rooms/a/members/m-2")) == (409, "elsewhere")
