"""Rooms whose publishers must wait: several holders, and holders that hang."""

from __future__ import annotations

from wsdaemon.hub.holds import Holds
from wsdaemon.hub.server import WorkerLink


class Made:
    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.holds = Holds(lambda room, held: self.told.append((room, held)))
        self.one, self.two = WorkerLink(), WorkerLink()

    def check(self, *hung: WorkerLink) -> list[tuple[str, bool]]:
        """The changes that publishers notice when these workers hang."""
        self.told.clear()
        self.holds.check(lambda link: link not in hung)
        return self.told


def test_a_room_waits_until_its_last_holder_lets_go() -> None:
    made = Made()
    for link, held in ((made.one, True), (made.one, True), (made.two, True), (made.one, False)):
        made.holds.hold(link, "lobby", held)
    assert (made.told, made.holds.rooms) == ([("lobby", True)], ["lobby"])
    made.holds.forget(made.two)
    assert (made.told[1:], made.holds.rooms) == ([("lobby", False)], [])
    made.holds.hold(made.two, "lobby", False)
    assert len(made.told) == 2


def test_a_worker_that_hangs_holds_no_publisher_up_until_its_loop_turns_again() -> None:
    made = Made()
    made.holds.hold(made.one, "lobby", True)
    assert made.check() == []
    assert made.check(made.one) == [("lobby", False)]
    assert made.check(made.one) == []
    made.holds.hold(made.two, "lobby", True)
    assert made.told == [("lobby", True)], "the other worker holds it too"
    made.holds.hold(made.two, "lobby", False)
    assert made.check() == [("lobby", True)], "its members are still slow"
    made.holds.hold(made.one, "lobby", False)
    assert made.holds.rooms == []


def test_a_worker_that_hung_and_held_no_room_since_holds_one_at_once() -> None:
    made = Made()
    made.holds.hold(made.one, "lobby", True)
    assert made.check(made.one) == [("lobby", False)]
    made.holds.hold(made.one, "lobby", False)
    assert made.check() == []
    made.holds.hold(made.one, "lobby", True)
    assert made.told == [("lobby", True)]


def test_a_hung_worker_that_ends_leaves_nothing() -> None:
    made = Made()
    made.holds.hold(made.one, "lobby", True)
    assert made.check(made.one) == [("lobby", False)]
    made.holds.forget(made.one)
    assert made.check() == []
    made.holds.hold(made.one, "lobby", True)
    assert made.told == [("lobby", True)], "its next life holds the room at once"
