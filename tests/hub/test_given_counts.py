"""Places, rates and tickets from one hub to another."""

from __future__ import annotations

from wsdaemon.hub.given_counts import GivenCounts, TakenCounts
from wsdaemon.hub.places import GRANTED, HeldPlaces, KeyRate, NameLimit
from wsdaemon.hub.room_messages import read_sheet
from wsdaemon.hub.server import WorkerLink
from wsdaemon.hub.succession import PLACES, RATES, TICKETS
from wsdaemon.hub.tickets import HeldTickets

from tests.support.links import read_frames  # isort: skip

RATE = KeyRate(b"scope\xff", b"192.0.2.1", 0.5, 3)
NAMES = [NameLimit(b"all", 1000), NameLimit(b"address \xfe", 1000)]


class Pair:
    def __init__(self) -> None:
        self.now = 1000.0
        self.old, self.new = HeldPlaces(lambda: self.now), HeldPlaces(lambda: self.now)
        self.tickets, self.taken = HeldTickets(lambda: self.now), HeldTickets(lambda: self.now)
        self.giver = GivenCounts(self.old, self.tickets)
        self.former: dict[bytes, WorkerLink] = {}
        self.taker = TakenCounts(self.new, self.taken, self._former)
        self.one, self.two = WorkerLink.of_former_hub(b"worker-1"), WorkerLink.of_former_hub(b"worker-2")

    def _former(self, instance: bytes) -> WorkerLink:
        return self.former.setdefault(instance, WorkerLink.of_former_hub(instance))

    def round(self) -> int:
        count = 0
        for frame in self.giver.frames():
            [(kind, _, body)] = read_frames(frame)
            {PLACES: self.taker.places, RATES: self.taker.rates, TICKETS: self.taker.tickets}[kind](read_sheet(body)[0])
            count += 1
        return count

    def check(self) -> None:
        for name, _ in NAMES:
            assert self.new.count(name) == self.old.count(name)
        assert {link.instance: self.new.held_by(link) for link in self.former.values()} == {
            link.instance: self.old.held_by(link) for link in (self.one, self.two) if link.instance in self.former
        }


def test_places_go_along_and_what_is_taken_and_left_meanwhile() -> None:
    pair = Pair()
    for number in range(1200):
        assert pair.old.ask(pair.one, number, NAMES[:1]) == (GRANTED if number < 1000 else 0)
    pair.old.ask(pair.two, 1, NAMES[1:])
    assert pair.round() == 3
    pair.check()
    assert pair.round() == 0
    pair.old.leave(pair.one, 7)
    pair.old.ask(pair.two, 2, NAMES)
    pair.old.gone(pair.one)
    pair.old.ask(pair.one, 7, NAMES)
    pair.round()
    pair.check()
    pair.new.rename(pair.former[b"worker-1"], "link")
    assert pair.new.held_by("link") == {7: tuple(name for name, _ in NAMES)}
    pair.new.rename("absent", "other")
    assert pair.new.owners() == [pair.former[b"worker-2"], "link"]


def test_an_address_has_no_new_burst() -> None:
    pair = Pair()
    assert [pair.old.ask(pair.one, number, [], [RATE]) for number in range(2)] == [GRANTED] * 2
    pair.round()
    assert pair.old.ask(pair.one, 3, [], [RATE]) == GRANTED
    pair.round()
    assert pair.new.ask("link", 1, [], [RATE]) == 0
    pair.now += 2.0
    assert pair.new.ask("link", 2, [], [RATE]) == GRANTED
    assert pair.new.ask("link", 3, [], [RATE]) == 0


def test_a_ticket_is_used_once_over_both_hubs() -> None:
    pair = Pair()
    for place in ("one", "two", "three"):
        assert pair.tickets.put("jwt", place, b"\xff" + place.encode(), 10.0, 5)
    pair.round()
    assert pair.tickets.take("jwt", "one") == b"\xffone"
    assert pair.tickets.put("other", "four", b"", 10.0, 5)
    pair.round()
    assert len(pair.taken) == 3
    assert pair.taken.take("jwt", "one") is None
    assert pair.taken.take("jwt", "two") == b"\xfftwo"
    assert pair.taken.take("other", "four") == b""
    pair.now += 10
    assert pair.taken.take("jwt", "three") is None


def test_a_closed_giver_takes_no_notes() -> None:
    pair = Pair()
    pair.round()
    pair.giver.close()
    pair.old.ask(pair.one, 1, NAMES, [RATE])
    pair.tickets.put("jwt", "one", b"", 1.0, 1)
    assert (pair.old.changed, pair.old.changed_rates, pair.tickets.changed) == (None, None, None)
