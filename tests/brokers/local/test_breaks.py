"""brokers/local/breaks.py: members are told that messages may be lost, in the order of the room."""

from __future__ import annotations

from collections.abc import Callable

from tests.brokers.test_memory import Listener
from wsdaemon.brokers import Limits, budget
from wsdaemon.brokers.contract import Member, Message, Presence, Subscribed
from wsdaemon.brokers.local.members import LocalMembers
from wsdaemon.brokers.local.rooms import Holder, LocalRoom

BREAK = Subscribed("room", "e2", 7, gap=True)
ROSTER = (Presence("a", {}),)


class Follower(Listener):
    """Notes breaks and messages in the order in which they come."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.told: list[object] = []
        self.before: Callable[[], None] = lambda: None

    def deliver(self, message: Message) -> None:
        self.told.append(message.offset)

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        self.told.append((room, answer.offset, answer.present, pattern))
        self.before()


class Place:
    """One room with some members, delivered when a test says so."""

    def __init__(self, *ids: str) -> None:
        self.failed: list[tuple[str, str]] = []
        self.local = LocalMembers(Limits(), budget.Budget(1 << 20), self.fail, wake=lambda: None)
        self.room = LocalRoom("room")
        self.followers = [Follower(id) for id in ids]
        self.holders = [Holder(follower, self.local.budget.house) for follower in self.followers]
        for holder in self.holders:
            self.local.enter(self.room, holder)
        self.local.watch(self.room, self.followers[0])

    def fail(self, member: Member, error: Exception) -> None:
        self.failed.append((member.id, str(error)))

    def publish(self, offset: int) -> None:
        self.room.offset = offset
        message = Message("room", "e2", offset, b"x", True, 0.0)
        self.local.fan.submit(self.room, message, self.local.targets(self.room), None, False)

    def break_off(self) -> None:
        self.local.break_off(self.room, BREAK, ROSTER)

    def drain(self, budget: int = 1000) -> None:
        while self.local.fan.step(budget):
            pass


def test_a_break_comes_between_the_messages_before_and_after_it_and_watchers_have_the_roster() -> None:
    place = Place("a", "b")
    place.publish(7)
    place.break_off()
    place.publish(8)
    place.drain(1)
    assert [follower.told for follower in place.followers] == [[7, ("room", 7, ROSTER, None), 8], [7, ("room", 7, None, None), 8]]
    assert place.local.budget.used == place.local.budget.house.bytes  # nothing waits any more


def test_a_member_that_left_meanwhile_is_not_told_even_if_it_has_come_back() -> None:
    place = Place("a", "b")
    place.room.offset = 7
    place.break_off()
    place.local.leave(place.room, place.holders[0])
    place.local.enter(place.room, place.holders[0])
    place.drain()
    assert [follower.told for follower in place.followers] == [[], [("room", 7, None, None)]]


def test_a_member_that_catches_up_is_told_first_and_once() -> None:
    place = Place("a", "b")
    place.publish(7)
    place.break_off()
    place.publish(8)
    place.local.catch_up(place.room, place.holders[1])
    expected = [7, ("room", 7, None, None), 8]
    assert [follower.told for follower in place.followers] == [[], expected]
    place.drain()
    assert place.followers[1].told == expected


def test_a_member_that_fails_keeps_the_break_from_no_other() -> None:
    def fail() -> None:
        raise ValueError("no")

    place = Place("a", "b")
    place.followers[0].before = fail
    place.break_off()
    place.drain()
    assert place.failed == [("a", "no")]
    assert place.followers[1].told == [("room", 7, None, None)]


def test_a_dropped_outbox_tells_nothing_and_costs_nothing() -> None:
    place = Place("a")
    place.publish(7)
    place.break_off()
    place.followers[0].before = lambda: place.local.fan.drop(place.room)
    used = place.local.budget.used
    place.local.fan.drop(place.room)
    assert place.local.budget.used < used
    assert (place.room.pending, place.room.breaks, place.room.waiting, place.local.fan.active) == ([], [], 0, set())
    place.publish(8)
    place.drain()
    assert place.followers[0].told == [8]


def test_a_member_by_pattern_is_told_the_pattern() -> None:
    place, listener = Place("a"), Follower("listener")
    place.local.enter_pattern("*", place.local.holder(listener, None))
    place.break_off()
    place.drain()
    assert listener.told == [("room", 7, None, "*")]
