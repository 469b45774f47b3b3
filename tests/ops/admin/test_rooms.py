"""ops/admin/rooms.py and publishing.py: rooms from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.admin.test_site import ask, problem
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Busy, HistoryPage, Message, Notice, Position, PresencePage, Published, RoomPage
from wsdaemon.brokers.memory import MemoryBroker
from wsdaemon.ops.admin import rooms as rooms_module
from wsdaemon.ops.admin.rooms import RoomsMount, RoomsPages, own_key
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.admin.table import MOST_MESSAGES


class Rooms:
    """An app's rooms, on the broker of one process."""

    def __init__(self, **limits: Any) -> None:
        self.broker = MemoryBroker(Limits(**{"history": 100, **limits}), lambda member, error: None, wall=lambda: 1_790_000_000.1234)
        self.busy = False

    async def publish(self, room: str, payload: bytes, text: bool, *, key: str | None, content_type: str | None) -> Published:
        if self.busy:
            raise Busy("the room is busy")
        return self.broker.publish(room, payload, text, key=key, content_type=content_type)

    async def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        return self.broker.history(room, since, limit, reverse)

    async def presence(self, room: str, limit: int | None) -> PresencePage:
        return self.broker.presence(room, limit)

    async def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage:
        return self.broker.rooms(after, limit, pattern)


class Member:
    def __init__(self, id: str, **identity: Any) -> None:
        self.id = id
        self.identity: Mapping[str, Any] = identity
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)

    def presence_changed(self, notice: Notice) -> None:
        """Nothing is done with it."""


class Outside:
    """The API, and what is behind it."""

    def __init__(self, *mounts: str, max_message: int = 1000, closed: bool = False, **limits: Any) -> None:
        self.rooms = {path: Rooms(**limits) for path in mounts or ("/rooms/{room}",)}
        self.dismissed: list[tuple[str, int, str]] = []
        self.here = {"m-1"}
        pages = RoomsPages([RoomsMount(path, rooms, max_message, closed) for path, rooms in self.rooms.items()], self.dismiss)
        self.site = AdminSite(pages.pages(), lambda: None, "1")

    @property
    def broker(self) -> MemoryBroker:
        return next(iter(self.rooms.values())).broker

    def dismiss(self, id: str, code: int, reason: str) -> bool:
        self.dismissed.append((id, code, reason))
        return id in self.here

    def post(self, path: str, body: bytes, *lines: str) -> Any:
        return json.loads(self.ask(f"POST {path}", *lines, body=body).body)

    def get(self, path: str) -> Any:
        answer = self.ask(f"GET {path}")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def ask(self, line: str, *lines: str, body: bytes = b"") -> Any:
        return ask(self.site, line, *lines, body=body)

    def many(self, *messages: Mapping[str, object]) -> Any:
        return self.post("/api/publish", json.dumps({"messages": messages}).encode())["results"]


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
    pages = RoomsPages([], lambda id, code, reason: False).pages()
    assert problem(ask(AdminSite(pages, lambda: None, "1"), "GET /api/rooms")) == (404, "no_mount")


# -- publishing many


def test_many_messages_in_their_order() -> None:
    outside, member = Outside(max_message=5), Member("m-1")
    outside.broker.subscribe("a", member)
    results = outside.many(
        {"room": "a", "data": "é", "key": "k", "content_type": "text/html"},
        {"room": "a", "data": "AAH/", "encoding": "base64"},
        {"room": "a", "data": "é", "key": "k"},
        {"room": "a", "data": "too long"},
        {"room": "a", "data": "x", "mount": "/nowhere"},
        {"room": "b", "data": ""},
    )
    assert [one.get("offset", one.get("code")) for one in results] == [1, 2, 1, "message_too_big", "no_mount", 1]
    assert [one.get("duplicate") for one in results] == [False, False, True, None, None, False]
    assert all(one["room"] in ("a", "b") for one in results)
    assert [(message.payload, message.text, message.content_type) for message in member.messages] == [
        ("é".encode(), True, "text/html"),
        (b"\x00\x01\xff", False, None),
    ]


def test_one_of_many_that_comes_too_soon() -> None:
    outside = Outside(rate=0.5, burst=1)
    first, second = outside.many({"room": "a", "data": "1"}, {"room": "a", "data": "2"})
    assert first["offset"] == 1
    assert (second["status"], second["code"], second["retry_after"]) == (429, "rate_limited", 2)


def test_the_largest_batch_is_not_too_large() -> None:
    one = {"room": "a,[{", "data": "AAEC", "encoding": "base64", "key": "k,[{", "content_type": "a/b", "mount": "/none"}
    answer = Outside().ask("POST /api/publish", body=json.dumps({"messages": [one] * MOST_MESSAGES}).encode())
    assert answer.status == 200 and len(json.loads(answer.body)["results"]) == MOST_MESSAGES


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "The body is not JSON."),
        ("NaN", "The body is not JSON."),
        ("[" * 15_000, "The body is not JSON."),
        ("[" * 100_000, "The body has more than 20000 commas and brackets."),
        ("[" + "[]," * 1_400_000 + "1]", "The body has more than 20000 commas and brackets."),
        ("[]", 'Expected {"messages": [...]}.'),
        ('{"messages":{}}', 'Expected {"messages": [...]}.'),
        ('{"messages":[],"more":1}', 'Expected {"messages": [...]}.'),
        ('{"messages":[1]}', "messages[0]: expected an object."),
        ('{"messages":[{"room":"a","data":"x"},{"room":"a"}]}', "messages[1].data: missing."),
        ('{"messages":[{"data":"x"}]}', "messages[0].room: missing."),
        ('{"messages":[{"room":"a","data":1}]}', "messages[0].data: expected text."),
        ('{"messages":[{"room":"a","data":"x","key":""}]}', "messages[0].key: expected text of up to 256 characters."),
        ('{"messages":[{"room":"a","data":"?","encoding":"base64"}]}', "messages[0].data: expected base64."),
        ('{"messages":[{"room":"a","data":"","encoding":"hex"}]}', "messages[0].encoding: expected base64."),
        ('{"messages":[{"room":"a","data":"\\ud800"}]}', "messages[0].data: expected text without lone surrogates."),
        ('{"messages":[{"room":"a","data":"","content_type":"a\\n"}]}',
         "messages[0].content_type: expected printable ASCII of up to 255 characters."),
        ('{"messages":[{"room":"a","data":"x","echo":true}]}',
         "messages[0]: unknown field; the fields are room, data, encoding, key, content_type, mount."),
    ],
)  # fmt: skip
def test_a_body_of_another_form_publishes_nothing(body: str, detail: str) -> None:
    outside = Outside()
    answer = outside.ask("POST /api/publish", body=body.encode())
    assert problem(answer)[0] == 400
    assert json.loads(answer.body)["detail"] == detail
    assert outside.broker.room_count == 0


def test_too_many_messages() -> None:
    body = json.dumps({"messages": [{"room": "a", "data": ""}] * 1001}).encode()
    assert problem(Outside().ask("POST /api/publish", body=body)) == (400, "bad_body")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["room", "data", "encoding", "key", "mount"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_no_body_is_an_error_of_ours(value: object) -> None:
    assert Outside().ask("POST /api/publish", body=json.dumps({"messages": value}).encode()).status in (200, 400)


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
