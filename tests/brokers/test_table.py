"""brokers/table.py: which rooms may go, and how much of them is looked at in one go."""

from __future__ import annotations

import pytest

from wsdaemon.brokers import Limits
from wsdaemon.brokers.budget import Budget
from wsdaemon.brokers.contract import Message, TooManyRooms
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
