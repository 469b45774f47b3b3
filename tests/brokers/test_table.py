"""brokers/table.py: which rooms may go, and how much of them is looked at in one go."""

from __future__ import annotations

import pytest

from wsdaemon.brokers import Limits
from wsdaemon.brokers.budget import MESSAGE_BYTES, Budget
from wsdaemon.brokers.contract import Message
from wsdaemon.brokers.errors import TooManyRooms
from wsdaemon.brokers.room import Room
from wsdaemon.brokers.table import MESSAGES_LIKE_A_ROOM, RoomTable


def table(limits: Limits) -> tuple[RoomTable, Budget]:
    budget = Budget(limits.memory)
    return RoomTable(limits, budget, lambda: "epoch"), budget


def ready(rooms: RoomTable, budget: Budget, name: str, now: float = 0.0) -> Room:
    return rooms.ready(name, rooms.get(name), 0, budget.house, now)


def test_a_sweep_is_bounded_by_messages_too() -> None:
    """Ten rooms with a long history each are not all forgotten in one go."""
    rooms, budget = table(Limits(history=1000, history_age=1.0, room_idle=1.0, key_age=1.0))
    for number in range(10):
        room = ready(rooms, budget, f"{number}")
        for offset in range(1, 501):
            room.offset = offset
            rooms.remember(room, Message(room.name, "epoch", offset, b"x", True, 0.0), None, 0.0)
    calls = 0
    while len(rooms):
        assert rooms.sweep(100.0, 10) <= 10 + 1 + 500 // MESSAGES_LIKE_A_ROOM
        calls += 1
    assert calls >= 5
    assert budget.used == 0


def test_a_room_in_which_something_waits_does_not_go() -> None:
    rooms, budget = table(Limits(max_rooms=2))
    first, _second = ready(rooms, budget, "first"), ready(rooms, budget, "second")
    first.pending.append(object())  # type: ignore[arg-type]
    ready(rooms, budget, "third")
    assert list(rooms) == ["first", "third"]
    rooms["third"].pending.append(object())  # type: ignore[arg-type]
    with pytest.raises(TooManyRooms):
        ready(rooms, budget, "fourth")
    assert rooms.get("fourth") is None


def test_a_room_that_was_used_is_the_last_to_go() -> None:
    rooms, budget = table(Limits(max_rooms=2))
    first, _second = ready(rooms, budget, "first"), ready(rooms, budget, "second")
    rooms.used(first, 1.0)
    ready(rooms, budget, "third")
    assert list(rooms) == ["first", "third"]


def fill(rooms: RoomTable, room: Room, messages: int, now: float = 0.0) -> None:
    for _ in range(messages):
        room.offset += 1
        rooms.remember(room, Message(room.name, "epoch", room.offset, b"x", True, 0.0), None, now)


def held(rooms: RoomTable, name: str, now: float) -> list[int]:
    return [message.offset for message in rooms.history(name, None, 1000, False, now).messages]


def test_rooms_stay_when_the_limits_change_and_longer_histories_are_shortened_a_part_at_a_time() -> None:
    rooms, budget = table(Limits(history=500, history_bytes=1000))
    for number in range(10):
        fill(rooms, ready(rooms, budget, f"{number}"), 500)
    rooms.change_limits(Limits(history=2), 1.0)
    assert len(held(rooms, "0", 1.0)) == 500, "the change itself takes no time for each message"
    sweeps = 0
    while rooms.sweep(1.0, 10) >= 10:
        sweeps += 1
    assert sweeps >= 9, "fifty messages count as one room"
    assert held(rooms, "9", 1.0) == [499, 500]
    fill(rooms, rooms["9"], 1)
    assert held(rooms, "9", 1.0) == [500, 501]
    rooms.change_limits(Limits(history=4), 1.0)
    fill(rooms, rooms["9"], 3)
    assert held(rooms, "9", 1.0) == [501, 502, 503, 504]
    rooms.clear()
    assert budget.used == 0


def test_a_publication_after_the_end_of_histories_clears_the_rooms_own_at_once() -> None:
    """Else the old messages would be given out under new offsets."""
    rooms, budget = table(Limits(history=100, latest=True))
    for name in ("a", "b"):
        fill(rooms, ready(rooms, budget, name), 100)
    rooms.change_limits(Limits(), 1.0)
    assert rooms["a"].last is None
    assert rooms.keeps_messages, "until the sweep is through"
    fill(rooms, rooms["a"], 1)
    assert (held(rooms, "a", 1.0), len(held(rooms, "b", 1.0))) == ([], 100)
    while rooms.sweep(1.0, 10) >= 10:
        pass
    assert held(rooms, "b", 1.0) == []
    assert not rooms.keeps_messages
    rooms.clear()
    assert budget.used == 0


def test_messages_begin_to_age_when_the_limits_say_so_and_end_to() -> None:
    rooms, budget = table(Limits(history=10))
    fill(rooms, ready(rooms, budget, "a"), 5, 0.0)
    rooms.change_limits(Limits(history=10, history_age=20.0), 100.0)
    fill(rooms, rooms["a"], 1, 110.0)
    assert held(rooms, "a", 119.0) == [1, 2, 3, 4, 5, 6]
    rooms.sweep(121.0, 100)
    assert (held(rooms, "a", 121.0), budget.used) == ([6], rooms["a"].cost + MESSAGE_BYTES + 1)
    rooms.change_limits(Limits(history=10), 122.0)
    assert held(rooms, "a", 1000.0) == [6]
    fill(rooms, rooms["a"], 1, 1000.0)
    assert held(rooms, "a", 9000.0) == [6, 7]


def test_a_rate_begins_and_ends_with_the_limits() -> None:
    rooms, budget = table(Limits())
    room = ready(rooms, budget, "a")
    assert room.bucket is None
    rooms.change_limits(Limits(rate=1.0, burst=2), 0.0)
    assert room.bucket is not None
    assert [bool(room.bucket.take(0.0)) for _ in range(3)] == [False, False, True]
    rooms.change_limits(Limits(), 0.0)
    assert room.bucket is None


def test_rooms_make_way_if_there_may_be_fewer() -> None:
    rooms, budget = table(Limits(max_rooms=20))
    for number in range(20):
        ready(rooms, budget, f"{number:02}")
    rooms.change_limits(Limits(max_rooms=5), 1.0)
    assert len(rooms) == 20
    ready(rooms, budget, "new")
    assert list(rooms) == ["16", "17", "18", "19", "new"]


def test_less_memory_holds_for_all_accounts() -> None:
    rooms, budget = table(Limits(memory=80_000, history=100))
    ada = budget.account("user ada")
    fill(rooms, rooms.ready("a", None, 0, ada, 0.0), 100)
    budget.change_limit(8000)
    assert (ada.most, budget.account("user bob").most, budget.house.most) == (1000, 1000, 8000)
    ready(rooms, budget, "b")
    assert budget.used <= 8000, "the oldest messages make way"
