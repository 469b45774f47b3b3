"""The order of one mount's rooms, without sockets: who is given which frames, the account of memory, and what a sweep forgets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.support.links import read_frames
from wsdaemon.brokers import Limits, contract, errors
from wsdaemon.brokers.contract import Change, Position, Presence
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.hub import followers as followers_module
from wsdaemon.hub import room_messages
from wsdaemon.hub.publications import HubPublications
from wsdaemon.hub.recent import Recent
from wsdaemon.hub.rooms import MountOrder
from wsdaemon.hub.server import WorkerLink

EPOCH = "0123456789abcdef"


class FakeLink:
    """A link that records the payloads of the messages that it is given, and other kinds of frames by number."""

    worker = 1

    def __init__(self, name: str, generation: int) -> None:
        self.generation = generation
        self.instance = name.encode()
        self.given: list[bytes] = []
        self.kinds: list[int] = []

        self.answers: list[bytes] = []
        self.needs: list[Sequence[Any]] = []

    def send(self, frame: bytes) -> None:
        for kind, _, body in read_frames(frame):
            if kind == room_messages.MESSAGE:
                self.given.append(room_messages.read_message(body, {})[0].payload)
            else:
                self.kinds.append(kind)

    add = send


class Order:
    def __init__(self, limits: Limits) -> None:
        self.now = 100.0
        self.order = MountOrder(4, "/chat", limits, lambda: self.now, lambda: self.now, lambda: EPOCH)
        self.publications = HubPublications(self.opened, lambda link: None, self.answer_when_written, self.refuse)

    def link(self, name: str, generation: int = 1) -> WorkerLink:
        link = cast("WorkerLink", FakeLink(name, generation))
        self.order.begin(link)
        self.publications.forget()
        return link

    def opened(self, link: WorkerLink, mount: int) -> MountOrder:
        assert mount == 4
        return self.order

    def answer_when_written(self, link: WorkerLink, answer: bytes, targets: Sequence[WorkerLink]) -> None:
        link.answers.append(answer)
        link.needs.append(targets)

    def refuse(self, link: WorkerLink, request: int, error: errors.BrokerError) -> None:
        raise error

    def join(self, link: WorkerLink, room: str, name: str, *, watch: bool = False) -> None:
        self.order.join(link, room, Presence(name, {}), None, watch, f"user {name}")

    def publish(self, link: WorkerLink, number: int, room: str, payload: bytes = b"", **fields: Any) -> contract.Published:
        self.publications.publish(link, 1, room_messages.publish(4, Publication(number, room, payload, True, **fields)))
        [(_, _, answer)] = read_frames(link.answers[-1])
        return room_messages.read_published(answer)


def given(link: WorkerLink) -> list[bytes]:
    return cast("FakeLink", link).given


def test_an_answer_depends_on_the_workers_that_follow_the_room() -> None:
    made = Order(Limits())
    one, two, three = made.link("one"), made.link("two"), made.link("three")
    made.join(one, "lobby", "ada")
    made.order.follow_pattern(two, ">")
    made.publish(three, 1, "lobby", b"1")
    made.publish(three, 2, "other", b"2")
    made.order.unfollow(one, "lobby")
    made.publish(three, 3, "lobby", b"3")
    assert [set(targets) for targets in three.needs] == [{one, two}, {two}, {two}]
    assert (given(one), given(two), given(three)) == ([b"1"], [b"1", b"2", b"3"], [])


def test_the_lists_of_followers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers_module, "TARGETS_KEPT", 10)
    made = Order(Limits())
    one = made.link("one")
    made.join(one, "lobby", "ada")
    for number in range(1, 100):
        made.publish(one, number, f"room {number}".replace(" ", "-"))
        assert len(made.order.followers.targets) <= 10
    made.publish(one, 100, "lobby", b"!")
    assert given(one) == [b"!"]


def test_a_refused_publication_changes_nothing() -> None:
    made = Order(Limits(rate=1, burst=1, history=10))
    one = made.link("one")
    made.join(one, "lobby", "ada")
    assert made.publish(one, 1, "lobby").offset == 1
    with pytest.raises(errors.RateLimited):
        made.publish(one, 2, "lobby")
    with pytest.raises(errors.BadKey):
        made.publish(one, 3, "lobby", key="")
    with pytest.raises(errors.BadRoom):
        made.publish(one, 4, "a room with blanks")
    made.now += 1
    assert made.publish(one, 2, "lobby").offset == 2
    assert made.publish(one, 1, "lobby").offset == 1
    assert len(given(one)) == 2


def test_memory_is_given_back_when_everything_is_gone() -> None:
    made = Order(Limits(history=3, history_age=10, latest=True))
    one, two = made.link("one"), made.link("two")
    for number in range(1, 50):
        made.join(one, "lobby", f"m{number}", watch=True)
        made.publish(two, number, "lobby", bytes(100), key=f"k{number}", owner="user ada")
    made.order.follow_pattern(two, "lobby")
    made.order.holds.hold(two, "lobby", True)
    made.order.end(one)
    made.order.end(two)
    made.now += 1000
    while made.order.sweep(1000):
        pass
    assert made.order.budget.used == 0
    assert made.order.rooms("", 10, None).rooms == ()
    assert made.order.holds.rooms == []
    made.now += 1000
    made.order.sweep(1000)
    made.now += 1000
    made.order.sweep(1000)
    assert made.order.remembered_numbers == 0


def test_a_member_of_another_worker_cannot_be_taken_out() -> None:
    made = Order(Limits())
    one, two = made.link("one"), made.link("two")
    made.join(one, "lobby", "ada")
    made.order.leave(two, "lobby", "ada")
    made.order.leave(two, "nowhere", "ada")
    made.order.unfollow(two, "lobby")
    made.order.followers.unfollow_pattern(two, ">")
    assert made.order.presence("lobby", None).count == 1
    made.order.unfollow(one, "lobby")
    assert made.order.presence("lobby", None).count == 0


def test_a_member_that_goes_along_changes_its_worker_in_one_step() -> None:
    """No member is told, and the limits do not count it twice. The former worker can do nothing about it any more."""
    made = Order(Limits(max_members=2))
    old, new = made.link("old"), made.link("new", 2)
    for name in ("ada", "bob"):
        made.join(old, "lobby", name, watch=True)
    told, kinds = made.order.roster("lobby"), list(cast("FakeLink", old).kinds)
    assert told is not None
    used = made.order.budget.used
    moved = made.order.move(new, "lobby", Presence("ada", {}), Position(EPOCH, 0), True, "user ada", told.position)
    assert (moved.gap, moved.messages, moved.changes, moved.roster) == (False, (), (), told)
    assert (cast("FakeLink", old).kinds, cast("FakeLink", new).kinds, made.order.budget.used) == (kinds, [], used)
    made.order.leave(old, "lobby", "ada")
    made.order.end(old)
    assert [each.id for each in made.order.presence("lobby", None).members] == ["ada"]
    assert cast("FakeLink", new).kinds == [room_messages.ROSTER_CHANGED], "bob has left with the former worker"
    made.order.end(new)
    assert made.order.presence("lobby", None).count == 0


def test_what_a_member_missed_on_its_way_is_known_without_a_history() -> None:
    made = Order(Limits(history=0))
    old, new = made.link("old"), made.link("new", 2)
    made.order.recent = Recent(lambda: made.now)
    made.join(old, "lobby", "ada", watch=True)
    made.publish(old, 1, "lobby", b"one")
    told = made.order.roster("lobby")
    assert told is not None
    made.publish(old, 2, "lobby", b"two")
    made.join(old, "lobby", "bob")
    moved = made.order.move(new, "lobby", Presence("ada", {}), Position(EPOCH, 1), True, "", told.position)
    assert [message.payload for message in moved.messages] == [b"two"]
    assert moved.changes == (Change("joined", Presence("bob", {})),)
    made.order.recent = None
    moved = made.order.move(new, "lobby", Presence("ada", {}), Position(EPOCH, 1), True, "", told.position)
    assert (moved.gap, moved.messages, moved.changes) == (True, (), None)


def test_a_former_worker_that_declares_a_member_anew_does_not_take_it_back() -> None:
    made = Order(Limits())
    old, new = made.link("old"), made.link("new", 2)
    ada = [(Presence("ada", {}), "user ada")]
    made.join(old, "lobby", "ada")
    made.order.move(new, "lobby", Presence("ada", {}), Position(EPOCH, 0), False, "", None)
    for link in (old, new, old):
        made.order.begin(link)
        made.order.declare(link, "lobby", ada, False, False)
        made.order.declared(link)
    made.order.end(old)
    assert made.order.presence("lobby", None).count == 1
    with pytest.raises(errors.DuplicateMember):
        made.join(old, "lobby", "ada")


def test_a_new_hub_gives_a_member_to_the_later_generation_whichever_declares_first() -> None:
    for order in ((1, 2), (2, 1)):
        made = Order(Limits())
        links = {generation: made.link(str(generation), generation) for generation in order}
        for link in links.values():
            made.order.declare(link, "lobby", [(Presence("ada", {}), "")], False, False)
        made.order.end(links[1])
        assert made.order.presence("lobby", None).count == 1


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(max_members=2), errors.RoomFull),
        (Limits(max_rooms=1), errors.TooManyRooms),
        (Limits(memory=40_000), errors.MemoryFull),
        (Limits(name_pattern=re.compile("[A-Z]+")), errors.BadRoom),
    ],
)
def test_no_limit_refuses_a_member_that_is_in_its_room_already(limits: Limits, error: type[errors.BrokerError]) -> None:
    made = Order(limits)
    one, two = made.link("one"), made.link("two")
    members = [(Presence(f"m{number}", {}), f"user {number}") for number in range(50)]
    for room in ("lobby", "other"):
        made.order.declare(one, room, members, True, False)
        assert made.order.presence(room, None).count == 50
    made.order.declared(one)
    assert made.order.presence("lobby", None).count == 50
    with pytest.raises(error):
        made.join(two, "lobby" if error in (errors.RoomFull, errors.MemoryFull) else "third", "newcomer")
    made.order.end(one)
    made.join(two, "LOBBY", "newcomer")
    assert made.order.budget.used < 5000, "all of it is given back"


def test_rooms_that_are_forgotten_have_not_changed() -> None:
    made = Order(Limits(max_rooms=10))
    one = made.link("one")
    for number in range(1, 3000):
        made.publish(one, number, f"room-{number}")
    made.order.sweep(1000)
    assert len(made.order.changed(">", 0.0, "", 100).rooms) == 10
