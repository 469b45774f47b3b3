"""brokers/followed/room.py: early messages, messages for members that are joining, and the roster of one room."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import Change, Message, Position, Presence
from wsdaemon.brokers.followed import room as module
from wsdaemon.brokers.followed.room import FollowedRoom
from wsdaemon.brokers.links.contract import Roster

ADA, BOB, EVE = (Presence(name, {}) for name in ("ada", "bob", "eve"))


def message(offset: int, epoch: str = "e1", payload: bytes = b"x") -> Message:
    return Message("room", epoch, offset, payload, True, 0.0)


def room(offset: int = 3) -> FollowedRoom:
    made = FollowedRoom("room")
    made.epoch, made.offset, made.known = "e1", offset, True
    return made


def test_early_messages_come_out_in_order_each_once() -> None:
    made = room()
    for offset in (6, 5, 5, 4):
        made.keep_early(message(offset))
    out = []
    while (found := made.next_early()) is not None:
        made.advance(found)
        out.append(found.offset)
    assert (out, made.has_early) == ([4, 5, 6], False)


@pytest.mark.parametrize("by", ["count", "bytes"])
def test_early_messages_have_a_bound(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EARLY", 3 if by == "count" else 100)
    monkeypatch.setattr(module, "MAX_EARLY_BYTES", 100 if by == "count" else 30)
    made = room()
    for offset in range(5, 20):
        made.keep_early(message(offset, payload=b"x" * 10))
    assert made.early_keys() == {("e1", 5), ("e1", 6), ("e1", 7)}


def test_strange_early_messages_are_forgotten_when_the_order_has_spoken() -> None:
    made = room()
    for early in (message(3), message(5), message(1, "old"), message(1, "new")):
        made.keep_early(early)
    made.forget_early({("old", 1)})
    assert made.early_keys() == {("e1", 5), ("new", 1)}


def test_messages_are_kept_for_members_that_are_joining_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EARLY", 2)
    made = room()
    made.advance(message(4))
    assert not made.covers(Position("e1", 3))  # no member was joining
    made.joins = 1
    for offset in (5, 6):
        made.advance(message(offset))
    assert made.covers(Position("e1", 4)) and [one.offset for one in made.recent(4)] == [5, 6]
    assert made.covers(Position("e1", 6)) and made.recent(6) == ()
    made.advance(message(7))
    assert not made.covers(Position("e1", 4)) and made.covers(Position("e1", 5))
    assert not made.covers(Position("e1", 8)) and not made.covers(Position("e2", 6))


def roster(version: int, *members: Presence, epoch: str = "e1") -> Roster:
    return Roster(Position(epoch, version), members)


def test_changes_apply_in_order_and_once() -> None:
    made = room()
    assert made.take_roster(roster(1, ADA)) == []
    assert made.take_changes(Position("e1", 2), [Change("joined", BOB)]) == [Change("joined", BOB)]
    assert made.take_changes(Position("e1", 2), [Change("joined", BOB)]) == []
    assert made.take_changes(Position("e1", 4), [Change("left", ADA), Change("joined", EVE)]) == [
        Change("left", ADA),
        Change("joined", EVE),
    ]
    assert made.roster == {"bob": BOB, "eve": EVE}


@pytest.mark.parametrize("position", [Position("e1", 3), Position("e2", 2)])
def test_a_change_that_does_not_follow_needs_a_new_roster(position: Position) -> None:
    made = room()
    made.take_roster(roster(1, ADA))
    assert made.take_changes(position, [Change("joined", BOB)]) is None
    assert made.roster == {"ada": ADA}


def test_a_newer_roster_tells_the_difference_and_an_older_one_nothing() -> None:
    made = room()
    made.take_roster(roster(5, ADA, BOB))
    assert made.take_roster(roster(4, EVE)) == []
    assert made.take_roster(roster(9, BOB, EVE)) == [Change("left", ADA), Change("joined", EVE)]
    assert made.take_roster(roster(1, BOB, epoch="e2")) == [Change("left", EVE)]


def test_changes_that_come_before_the_roster_are_kept() -> None:
    made = room()
    assert made.take_changes(Position("e1", 1), [Change("joined", ADA)]) == []
    assert made.take_changes(Position("e1", 2), [Change("joined", BOB)]) == []
    assert made.take_roster(roster(1, ADA)) == [Change("joined", BOB)]
    assert made.roster == {"ada": ADA, "bob": BOB}


def test_changes_that_come_before_the_roster_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EARLY_CHANGES", 2)
    made = room()
    for version in range(1, 9):
        made.take_changes(Position("e1", version), [Change("joined", Presence(str(version), {}))])
    assert len(made.early_changes) == 2
