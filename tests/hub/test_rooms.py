"""The order of one mount's rooms, without sockets: who is given which frames, the account of memory, and what a sweep forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.support.links import read_frames
from wsdaemon.brokers import Limits, contract
from wsdaemon.brokers.contract import Presence
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.hub import followers as followers_module
from wsdaemon.hub import room_messages
from wsdaemon.hub.room_messages import PUBLISH_HEAD, Source
from wsdaemon.hub.rooms import MountOrder
from wsdaemon.hub.server import WorkerLink

EPOCH = "0123456789abcdef"


class FakeLink:
    """A link that records the payloads of the messages that it is given, and other kinds of frames by number."""

    worker = 1

    def __init__(self, name: str) -> None:
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
        self.order = MountOrder(4, "/chat", limits, lambda link: None, lambda: self.now, lambda: self.now, lambda: EPOCH)

    def link(self, name: str) -> WorkerLink:
        link = cast("WorkerLink", FakeLink(name))
        self.order.begin(link)
        return link

    def join(self, link: WorkerLink, room: str, name: str, *, watch: bool = False) -> None:
        self.order.join(link, room, Presence(name, {}), None, watch, f"user {name}")

    def publish(self, link: WorkerLink, number: int, room: str, payload: bytes = b"", **fields: Any) -> contract.Published:
        key, owner = fields.pop("key", None), fields.get("owner", "")
        body = room_messages.publish(4, Publication(number, room, payload, True, **fields))
        length, _, _ = PUBLISH_HEAD.unpack_from(body)
        end = PUBLISH_HEAD.size + length
        source = Source(body[PUBLISH_HEAD.size : end])
        self.order.publish(link, 1, body, source, self.order.account(owner), number, end, key)
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
    with pytest.raises(contract.RateLimited):
        made.publish(one, 2, "lobby")
    with pytest.raises(contract.BadKey):
        made.publish(one, 3, "lobby", key="")
    with pytest.raises(contract.BadRoom):
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


def test_a_declaration_that_the_limits_refuse_says_whom() -> None:
    made = Order(Limits(max_members=2))
    one = made.link("one")
    members = [(Presence(name, {}), "") for name in ("a", "b", "c")]
    assert made.order.declare(one, "lobby", members, False, False) == ["c"]
    assert made.order.presence("lobby", None).count == 2


def test_times_of_rooms_that_are_forgotten_are_forgotten() -> None:
    made = Order(Limits(max_rooms=10))
    one = made.link("one")
    for number in range(1, 3000):
        made.publish(one, number, f"room-{number}")
    made.order.sweep(1000)
    assert made.order.known_times <= 10
    assert len(made.order.changed(">", 0.0, "", 100).rooms) == 10
