"""Rooms: each message of a client gets one answer or error, or closes its connection; and no other client is harmed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.support.fuzzing import again, run
from tests.support.mutators import mutate
from tests.support.rooms import Hall, Seat, hall, memory_of
from wsdaemon.apps.rooms import SUBPROTOCOL, Refused, Visitor
from wsdaemon.brokers.memory import MemoryBroker

Turn = tuple[int, bytes]
"""Which client, and its message: text where it is UTF-8."""

Talk = tuple[int, str, list[Turn]]
"""Which of the HOUSES, the query of a plain client, and what is said."""

FOUND: list[Talk] = []

EPOCH = "9c1d0a"

POSITION = {"epoch": EPOCH, "offset": 0}

REQUESTS: tuple[dict[str, Any], ...] = (
    {"type": "subscribe", "id": 1, "room": "lobby", "since": {"epoch": EPOCH, "offset": 1}, "presence": True},
    {"type": "subscribe", "id": "a", "room": "lobby"},
    {"type": "subscribe", "id": 2, "room": "prices.eur", "presence": True},
    {"type": "subscribe", "id": 3, "pattern": "prices.*"},
    {"type": "subscribe", "id": 3, "pattern": "prices.>", "since": {"prices.eur": POSITION, "a": {"epoch": "", "offset": 3}}},
    {"type": "unsubscribe", "id": 4, "room": "lobby"},
    {"type": "unsubscribe", "pattern": "prices.*"},
    {"type": "publish", "id": 5, "room": "lobby", "data": "hello", "key": "k1", "echo": True},
    {"type": "publish", "room": "prices.eur", "data": "AAEC/w==", "encoding": "base64"},
    {"type": "publish", "data": "grün"},
    {"type": "history", "id": 6, "room": "lobby", "since": {"epoch": EPOCH, "offset": 0}, "limit": 2, "reverse": False},
    {"type": "history", "room": "lobby", "reverse": True},
    {"type": "presence", "id": 7, "room": "lobby", "limit": 1},
    {"type": "ping", "id": 8},
)

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1000, 1001, 2**53 - 1, 2**53, 2**64, 10**400, 0.5, 1e308, "", "lobby", "*", ">", "prices.*", "a" * 256,
    "a" * 257, "\0", "\ud800", "\N{GRINNING FACE}", " ", "a b", "..", "a.*.b.>", "====", "base64", "ping", "subscribe", [], [[]], {},
    {"epoch": EPOCH}, {"epoch": EPOCH, "offset": -1}, {"epoch": EPOCH, "offset": 2**63}, {"": {"epoch": "", "offset": 0}},
)  # fmt: skip

RAW = (
    b"", b"null", b"[]", b"{}", b"[" * 5000, b'{"a":' * 3000, b'{"type":"ping","id":NaN}', b'{"type":"ping","id":1e999}', b"\xff\xfe",
    b'{"type":"ping","id":' + b"9" * 5000 + b"}", b'\xef\xbb\xbf{"type":"ping"}', b'{"type":"ping","id":"\\ud83d"}', b'{"type":"ping"}{}',
    b'{"type":"ping","type":"publish"}',
)  # fmt: skip

QUERIES = ("", "", f"since={EPOCH}:0", "since=x:1", "since=:", "since=%00:1", "since=a:1&since=b:2", "&&=&since", "since=a:" + "9" * 30)


class Policy:
    """Refuses some, breaks on others, and changes what is published."""

    async def enter(self, visitor: Visitor, room: str) -> bool:
        if room.startswith("prices"):
            raise Refused("not the \ud800 prices")
        return "a" not in room

    def publish(self, visitor: Visitor, room: str, message: str | bytes) -> Any:
        return None if message == "hello" else message


HOUSES: tuple[dict[str, Any], ...] = (
    {},
    {"history": 5, "latest": True, "policy": {"echo_to_sender": True}},
    {"history": 3, "history_bytes": 40, "max_rooms": 2, "max_subscriptions": 2, "max_patterns": 1, "max_keys": 2, "inline": 100},
    {"max_members": 1, "rate": 2.0, "burst": 2, "history_age": 10.0},
    {"hooks": Policy(), "history": 2},
    {"policy": {"publish": "server", "parameters": ()}},
    {"policy": {"drops_messages": True}, "max_pending": 1, "max_name": 8},
)

LONGEST_WAIT = 30
"""Seconds that a client has to wait at most for anything here."""

ANSWERS = ("subscribed", "unsubscribed", "published", "history", "presence", "pong", "error")


# -- what is said


def worse(random: Random, value: Any) -> Any:
    """A value of JSON with one part changed."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(list(value))
        match random.randrange(6):
            case 0:
                return {key: part for key, part in value.items() if key != name}
            case 1:
                return {**value, random.choice(("room", "pattern", "since", "id", "x", "", "data", "limit")): random.choice(VALUES)}
            case _:
                return {**value, name: worse(random, value[name])}
    return random.choice(VALUES)


def message(random: Random) -> bytes:
    if random.random() < 0.06:
        return random.choice(RAW)
    request: Any = random.choice(REQUESTS)
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 2, 3))):
            request = worse(random, request)
    said = json.dumps(request, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutate(random, said, RAW) if random.random() < 0.2 else said


def make(random: Random) -> Talk:
    query = random.choice(QUERIES)
    if random.random() < 0.2:
        query = mutate(random, query.encode()).decode("latin-1")
    return random.randrange(len(HOUSES)), query, [(random.randrange(3), message(random)) for _ in range(random.choice((1, 3, 10, 30)))]


# -- what comes of it


class Listener:
    """Counts what one client of the subprotocol is told."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def say(self, hall: Hall, payload: bytes) -> None:
        """One message, and what comes of it."""
        seat = self.seat
        if not seat.wire.live:
            return
        seat.take()
        said(hall, seat, payload)
        answers = [event for event in seat.take_events() if event["type"] in ANSWERS]
        assert len(answers) == 1, f"{len(answers)} answers"
        if answers[0]["type"] == "error":
            assert isinstance(answers[0]["code"], str) and isinstance(answers[0]["message"], str)


def said(hall: Hall, seat: Seat, payload: bytes) -> None:
    """A message of a client's, as the wire hands it over: text is UTF-8."""
    seat.send(text_or_bytes(payload))
    for _ in range(LONGEST_WAIT):
        if seat.waiting is None:
            return
        hall.now += 1
        hall.loop.advance(1)
    raise AssertionError("a client waits for ever")


def text_or_bytes(payload: bytes) -> str | bytes:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload


def talk(given: Talk) -> None:
    house, query, turns = given
    with hall(**HOUSES[house]) as made:
        plain = made.seat(query=query) if house != 5 else made.json()
        watcher = made.seat() if house != 5 else made.json()
        listeners = [Listener(made.seat(subprotocol=SUBPROTOCOL, who=who)) for who in ("ada", None)]
        for number, payload in turns:
            if number < len(listeners):
                listeners[number].say(made, payload)
            elif plain.wire.live:
                said(made, plain, payload)
            made.now += 0.3
        for seat in (plain, watcher, *[one.seat for one in listeners]):
            _ = seat.sent
            seat.drop()
        _left(made)


def _left(made: Hall) -> None:
    """The state after all clients have left, and some time has passed."""
    made.loop.settle()
    broker = memory_of(made.app)
    assert isinstance(broker, MemoryBroker)
    assert broker.member_count == 0, "a member is left"
    assert made.app.rooms.crowded == {}, "a publisher still waits"
    made.now += 1e6
    while broker.sweep(1000) == 1000:
        pass
    if broker.limits.keep < math.inf:
        assert broker.room_count == 0, "a room is left that nobody is in"
    assert made.failures == [], made.failures


def check(talks: Sequence[Talk]) -> None:
    for one in talks:
        talk(one)


def test_rooms() -> None:
    run("rooms", make, check)


def test_found() -> None:
    for one in FOUND:
        again(one, check)
