"""brokers/room.py: what a room answers to one that comes back, and what one member has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from wsdaemon.brokers import Limits
from wsdaemon.brokers.budget import Budget
from wsdaemon.brokers.contract import Message, Notice, Position, Presence, Subscribed
from wsdaemon.brokers.local.rooms import Holder
from wsdaemon.brokers.room import Room, room_cost


class Member:
    id = "m-1"
    identity: Mapping[str, Any] = {"name": "ada"}

    def deliver(self, message: Message) -> None: ...

    def presence_changed(self, notice: Notice) -> None: ...

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None: ...


def room(messages: int, **limits: Any) -> Room:
    """A room that was published to so often, and holds the last three."""
    budget = Budget(1 << 20)
    made = Room("lobby", "e1", Limits(**{"history": 3, **limits}), 0.0, budget, budget.house)
    for _ in range(messages):
        made.offset += 1
        made.last = Message("lobby", "e1", made.offset, b"x", True, 0.0)
        made.history.append(made.last, 0.0)
    return made


def offsets(messages: tuple[Message, ...]) -> list[int]:
    return [message.offset for message in messages]


@pytest.mark.parametrize(("since", "missed"), [(5, []), (4, [5]), (2, [3, 4, 5])])
def test_what_was_missed_is_answered_in_order(since: int, missed: list[int]) -> None:
    messages, gap = room(5).missed(Position("e1", since), 0.0)
    assert (offsets(messages), gap) == (missed, False)


@pytest.mark.parametrize("since", [Position("e1", 1), Position("e1", 6), Position("e0", 5), Position("", 0)])
def test_a_position_that_cannot_be_served_is_a_gap(since: Position) -> None:
    assert room(5).missed(since, 0.0) == ((), True)


def test_what_became_too_old_is_a_gap() -> None:
    old = room(5, history_age=10.0)
    assert offsets(old.missed(Position("e1", 4), 9.0)[0]) == [5]
    assert old.missed(Position("e1", 4), 10.0) == ((), True)


def test_the_last_message_is_for_newcomers_and_after_a_gap() -> None:
    made = room(5)
    assert made.answer(None, 0.0).latest is made.last
    assert made.answer(Position("e0", 1), 0.0).latest is made.last
    back = made.answer(Position("e1", 4), 0.0, (Presence("m-1", {}),))
    assert (back.latest, back.offset, back.epoch, back.gap) == (None, 5, "e1", False)
    assert back.present == (Presence("m-1", {}),)


def test_a_room_counts_with_its_name_as_python_holds_it() -> None:
    assert room_cost("lobby") - room_cost("") == 5
    assert room_cost("😀") - room_cost("") == 4
    assert room(0).cost == room_cost("lobby")


def test_a_rate_is_only_there_where_it_is_asked_for() -> None:
    assert room(0).bucket is None
    assert room(0, rate=5.0).bucket is not None


def test_a_member_hears_what_its_patterns_match() -> None:
    holder = Holder(Member(), Budget(1 << 20).house)
    assert holder.presence == Presence("m-1", {"name": "ada"})
    assert not holder.hears("prices.eur")
    holder.patterns |= {"prices.*", "a.>"}
    assert [name for name in ("prices.eur", "prices", "a.b.c", "b") if holder.hears(name)] == ["prices.eur", "a.b.c"]
