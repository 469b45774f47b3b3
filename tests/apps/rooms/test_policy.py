"""apps/rooms/policy.py: the user's hooks, as clients meet them."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from tests.support.fake_frames import text
from tests.support.fakes import house, request
from tests.support.rooms import Hall, hall, in_memory
from wsdaemon.apps.rooms import SUBPROTOCOL, Refused, RoomsApp, RoomsRules, SendToAll, Visitor
from wsdaemon.apps.rooms.policy import Policy
from wsdaemon.wire.fan import send_to_all


class Everything:
    """A test chooses the behaviour of each hook, by the name of the room or the text of the message."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.wait: asyncio.Future[None] | None = None

    async def enter(self, visitor: Visitor, room: str) -> bool:
        self.asked.append(("enter", room))
        if self.wait is not None:
            await self.wait
        if room == "broken":
            raise ValueError("a bug")
        if room == "told":
            raise Refused("members only")
        return room != "closed"

    async def publish(self, visitor: Visitor, room: str, message: str | bytes) -> Any:
        self.asked.append(("publish", str(message)))
        match message:
            case "drop":
                return None
            case "broken":
                raise ValueError("a bug")
            case "told":
                raise Refused("be polite")
            case "wrong":
                return 5
            case "surrogate":
                return "\ud800"
            case "name":
                return visitor.identity.name if visitor.identity else "nobody"
            case bytes():
                return message[::-1]
        return message.upper()


def present(made: Hall, room: str = "lobby") -> int:
    return made.memory.presence(room).count


@pytest.mark.parametrize(("room", "reason"), [("closed", "not allowed here"), ("broken", "not allowed here"), ("told", "members only")])
def test_who_may_not_enter(room: str, reason: str) -> None:
    with hall(hooks=Everything()) as made:
        plain, structured = made.seat(room), made.json(room)
        assert plain.closed == (1008, reason)
        answer = structured.ask("subscribe", id=1)
        assert answer == {"type": "error", "id": 1, "code": "forbidden", "message": reason}
        assert present(made, room) == 0
        assert [failure[1:] for failure in made.failures] == [("asking the policy", "a bug")] * (2 if room == "broken" else 0)
        assert structured.closed is None


def test_messages_may_be_changed_and_dropped() -> None:
    with hall(hooks=Everything()) as made:
        a, b, c = made.seat(who="ada"), made.seat(), made.json()
        assert b.sent == []
        for message in ("hello", "drop", b"\x01\x02", "name"):
            a.send(message)
        assert b.sent == ["HELLO", b"\x02\x01", "ada"]
        assert c.ask("publish", data="drop", id=1) == {"type": "published", "id": 1, "room": "lobby", "dropped": True}
        assert c.ask("publish", data="more", id=2)["offset"] == 4
        assert b.sent[-1] == "MORE"


@pytest.mark.parametrize(
    ("message", "reason", "logged"),
    [
        ("broken", "not allowed here", "a bug"),
        ("told", "be polite", None),
        ("wrong", "not allowed here", "publish() answers str, bytes or None, not int"),
        ("surrogate", "not allowed here", "'utf-8' codec"),
    ],
)
def test_what_may_not_be_published(message: str, reason: str, logged: str | None) -> None:
    with hall(hooks=Everything()) as made:
        a, b, c = made.seat(), made.seat(), made.json()
        assert c.ask("publish", data=message) == {"type": "error", "code": "forbidden", "message": reason}
        a.send(message)
        assert a.closed == (1008, reason)
        assert b.sent == [] and b.closed is None and c.closed is None
        assert [failure[2].startswith(logged or "") for failure in made.failures] == [True] * (2 if logged else 0)


def test_what_is_sent_while_the_hook_thinks_waits_and_keeps_its_order() -> None:
    hooks = Everything()
    with hall(hooks=hooks) as made:
        b = made.seat()
        assert b.closed is None
        made.loop.settle()
        hooks.wait = made.loop.create_future()
        a = made.seat()
        a.send("first")
        assert a.waiting is not None and present(made) == 1
        hooks.wait.set_result(None)
        made.loop.settle()
        assert a.waiting is None
        a.send("second")
        assert b.sent == ["FIRST", "SECOND"]


def test_one_who_goes_while_the_hook_thinks_is_never_a_member() -> None:
    hooks = Everything()
    with hall(hooks=hooks) as made:
        hooks.wait = made.loop.create_future()
        a, c = made.seat(), made.json()
        c.send('{"type":"subscribe"}')
        a.drop()
        c.drop()
        hooks.wait.set_result(None)
        made.loop.settle()
        assert present(made) == 0
        assert a.sent == c.sent == []


def test_a_hook_that_hangs_refuses() -> None:
    hooks = Everything()
    with hall(hooks=hooks, policy={"hook_timeout": 3.0}) as made:
        hooks.wait = made.loop.create_future()
        a = made.seat()
        made.loop.advance(2.9)
        assert a.closed is None
        made.loop.advance(0.2)
        assert a.closed == (1008, "not allowed here")
        assert made.failures[0][1] == "asking the policy"


def test_patterns_need_a_hook_of_their_own() -> None:
    with hall(hooks=Everything()) as made:
        assert made.json().ask("subscribe", pattern=">")["code"] == "forbidden"

    class Patterns(Everything):
        def enter_pattern(self, visitor: Visitor, pattern: str) -> bool:
            return pattern == "a.*"

    with hall(hooks=Patterns()) as made:
        a = made.json()
        assert a.ask("subscribe", pattern=">")["code"] == "forbidden"
        assert a.ask("subscribe", pattern="a.*")["type"] == "subscribed"

    class OnlyPublish:
        def publish(self, visitor: Visitor, room: str, message: str | bytes) -> str | bytes:
            return message

    with hall(hooks=OnlyPublish()) as made:
        assert made.json().ask("subscribe", pattern=">")["type"] == "subscribed"
        made.json().ask("publish", data="x")


@pytest.mark.parametrize("pattern", ["open.*", "*", "bad.pat*ern"])
def test_a_pattern_recovers_no_room_that_it_does_not_match(pattern: str) -> None:
    """A client that may use a pattern, and knows the epoch of a room that it may not enter, must not be given that room's messages."""

    class Patterns:
        def enter(self, visitor: Visitor, room: str) -> bool:
            return False

        def enter_pattern(self, visitor: Visitor, pattern: str) -> bool:
            return True

    with hall(hooks=Patterns(), history=10) as made:
        epoch = made.memory.publish("secret.room", b"private", True).epoch
        made.memory.publish("secret.room", b"private", True)
        a = made.json()
        a.ask("ping")
        a.take()
        answer = a.ask("subscribe", pattern=pattern, since={"secret.room": {"epoch": epoch, "offset": 0}})
        assert answer["code"] == ("bad_pattern" if pattern.startswith("bad") else "bad_room")
        assert [event for event in a.take_events() if event["type"] == "message"] == []


@pytest.mark.parametrize("request_", [{"type": "publish", "data": "x"}, {"type": "history"}, {"type": "presence"}])
def test_a_room_that_one_may_not_enter_shows_and_takes_nothing(request_: dict[str, str]) -> None:
    hooks = Everything()
    with hall(hooks=hooks, history=10) as made:
        a = made.json()
        assert a.ask(**request_, room="closed")["code"] == "forbidden"
        assert a.ask(**request_)["type"] != "error"
        a.ask("subscribe")
        hooks.asked.clear()
        a.ask(**request_)
        assert ("enter", "lobby") not in hooks.asked
        a.ask("unsubscribe")
        a.ask(**request_)
        assert ("enter", "lobby") in hooks.asked


def test_requests_are_done_in_their_order() -> None:
    with hall(hooks=Everything()) as made:
        a = made.json()
        for number in range(5):
            a.send(json.dumps({"type": "publish", "id": number, "data": "x"}))
        assert [event["id"] for event in a.events] == list(range(5))


def test_a_policy_without_hooks_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="at least one of the methods"):
        Policy(object(), 1.0, lambda *arguments: None)


def test_a_visitor_says_who_it_is() -> None:
    with hall(hooks=Everything()) as made:
        visitor = made.seat(who="ada").session.visitor
        assert visitor is not None
        assert visitor.identity is not None and visitor.identity.name == "ada"
        assert "192.0.2.7" in repr(visitor)


class NotBanned:
    """Denies by what the request says, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, dict[str, list[str]], str | None]] = []

    async def enter(self, visitor: Visitor, room: str) -> bool:
        await asyncio.sleep(0)
        return "banned" not in visitor.handshake.cookies

    def publish(self, visitor: Visitor, room: str, message: str | bytes) -> str | bytes:
        handshake = visitor.handshake
        self.seen.append((handshake.headers.get("x-tag"), handshake.query, handshake.origin))
        return message


@pytest.mark.parametrize("cookie", ["banned=yes", ""])
def test_hooks_are_given_the_whole_handshake_as_long_as_they_are_called(cookie: str) -> None:
    """Over a real wire, which lets go of handshakes: a rule on a cookie must not let a client in because the cookie is gone."""
    hooks = NotBanned()
    with house() as made:
        app = RoomsApp(
            RoomsRules(), in_memory(), cast("SendToAll", send_to_all), lambda *failure: pytest.fail(str(failure)), hooks
        )  # fmt: skip
        opening = request("/rooms?x=1", cookie=cookie, x_tag="seen", origin="https://a.example", sec_websocket_protocol=SUBPROTOCOL)
        client = made.make_wire(app, opening=opening, subprotocols=(SUBPROTOCOL,))
        client.send(text(json.dumps({"type": "subscribe", "room": "lobby"})))
        made.loop.settle()
        [answer] = [json.loads(frame.payload) for frame in client.frames()]
        assert answer["type"] == ("error" if cookie else "subscribed")
        if not cookie:
            for _ in range(2):
                client.send(text(json.dumps({"type": "publish", "room": "lobby", "data": "hello"})))
                made.loop.settle()
            assert hooks.seen == [("seen", {"x": ["1"]}, "https://a.example")] * 2
        assert not client.handshake.was_let_go


def test_without_hooks_the_handshake_is_let_go() -> None:
    with house() as made:
        app = RoomsApp(RoomsRules(), in_memory(), cast("SendToAll", send_to_all), lambda *failure: None)
        client = made.make_wire(app, opening=request(sec_websocket_protocol=SUBPROTOCOL), subprotocols=(SUBPROTOCOL,))
        assert client.handshake.was_let_go
