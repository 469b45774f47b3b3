"""One mount's rooms from one order to another, frame by frame: each part of their state, and changes between any two frames."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hub.test_rooms import Order
from tests.support.links import read_frames
from wsdaemon.brokers import Limits
from wsdaemon.hub import given_rooms, succession
from wsdaemon.hub.given_rooms import GivenRooms, TakenRooms
from wsdaemon.hub.numbers import Numbers
from wsdaemon.hub.protocol import HEADER
from wsdaemon.hub.room_messages import read_sheet
from wsdaemon.hub.rooms import roster_of
from wsdaemon.hub.server import WorkerLink
from wsdaemon.hub.succession import GONE, NUMBERS, ROOM, ROSTER

PLENTY = Limits(history=100, history_age=50.0, latest=True, rate=1000.0, burst=1000, max_keys=50, memory=1 << 30)


class Pair:
    """An order that is given, and one that takes."""

    def __init__(self, limits: Limits = PLENTY) -> None:
        self.old, self.new = Order(limits), Order(limits)
        self.old.order.number = 0
        self.one, self.two = self.old.link("worker-1"), self.old.link("worker-2")
        self.giver = GivenRooms(0, self.old.order)
        self.former: dict[bytes, WorkerLink] = {}
        self.taker = TakenRooms(self.new.order, self._former, lambda: self.new.now)
        self.kinds: list[int] = []

    def _former(self, instance: bytes) -> WorkerLink:
        return self.former.setdefault(instance, WorkerLink.of_former_hub(instance))

    def apply(self, frame: bytes) -> None:
        [(kind, request, body)] = read_frames(frame)
        self.kinds.append(kind)
        if kind == NUMBERS:
            _, instance, answers = succession.read_numbers(body)
            self.taker.numbers(instance, answers)
        elif kind == ROOM:
            assert request == 0
            self.taker.room(*read_sheet(body, self.new.order.account))
        else:
            _, *values = read_sheet(body)[0]
            take: Callable[..., None] = self.taker.gone if kind == GONE else self.taker.roster
            take(*values)

    def round(self) -> None:
        self.kinds.clear()
        for frame in self.giver.frames():
            self.apply(frame)

    def check(self) -> None:
        old, new = self.old.order, self.new.order
        assert set(old.table) == set(new.table)
        for name in old.table:
            assert state(self.old, name) == state(self.new, name)
        assert new.key_count == old.key_count
        assert new.budget.used == old.budget.used
        for owner in ("", "user ada", "user bob"):
            a, b = old.account(owner), new.account(owner)
            assert (a.bytes, a.rooms, set(a.idle), len(a.keys)) == (b.bytes, b.rooms, set(b.idle), len(b.keys))
        for instance, numbers in old.numbers.items():
            assert answers_of(numbers) == (answers_of(new.numbers[instance]) if len(numbers) else [])


def answers_of(numbers: Numbers) -> list[tuple[int, bytes]]:
    return [(number, frame[HEADER.size :]) for number, frame in numbers.since((0, 0))[0]]


def state(made: Order, name: str) -> list[Any]:
    room = made.order.table[name]
    history = room.history.between(1, room.offset + 1, room.offset)
    return [
        room.epoch, room.offset, room.touched, room.account.owner, room.published_at,
        [(each.offset, each.payload, each.time, each.publisher, each.account.owner if each.account else "") for each in history],
        list(room.history.stamps(1, room.offset + 1, room.offset)), room.last and (room.last.offset, room.last.payload),
        [(key.name, key.offset, key.time, key.account.owner) for key in (room.keys or {}).values()],
        sorted((id, dict(entry.presence.identity), entry.account.owner, entry.link.instance) for id, entry in roster_of(room).items()),
        room.bucket and room.bucket.state(),
    ]  # fmt: skip


def test_every_part_of_a_room_goes_along() -> None:
    pair = Pair()
    old = pair.old
    old.join(pair.one, "a", "ada", watch=True)
    old.join(pair.two, "b", "bob")
    for number in range(1, 5):
        old.now += 1
        old.publish(pair.one, number, "a", b"%d" % number, owner="user ada", key=f"k{number}", publisher="ada")
    old.publish(pair.two, 1, "c", b"c", owner="user bob")
    pair.round()
    pair.check()
    pair.round()
    assert pair.kinds == []
    old.now += 1
    old.publish(pair.two, 2, "a", b"more")
    old.order.leave(pair.two, "b", "bob")
    pair.round()
    pair.check()
    assert sorted(set(pair.kinds)) == [ROOM, ROSTER, NUMBERS]


def test_a_change_sends_no_message_again() -> None:
    pair = Pair()
    for number in range(1, 50):
        pair.old.publish(pair.one, number, "a", bytes(1000))
    pair.round()
    pair.old.publish(pair.one, 50, "a", b"x")
    sizes = [len(frame) for frame in pair.giver.frames()]
    assert sum(sizes) < 1500


def test_a_room_that_ended_and_began_anew_is_the_new_one() -> None:
    pair = Pair()
    epochs = iter("0123456789")
    pair.old.order.table._new_epoch = lambda: next(epochs) * 16
    pair.old.publish(pair.one, 1, "a", b"1")
    pair.old.publish(pair.one, 2, "b", b"1")
    pair.round()
    table = pair.old.order.table
    table.forget(table["a"])
    table.forget(table["b"])
    pair.old.join(pair.one, "a", "ada")
    pair.round()
    pair.check()
    assert GONE in pair.kinds


def test_a_closed_giver_takes_no_notes() -> None:
    pair = Pair()
    pair.giver.close()
    pair.old.join(pair.one, "a", "ada")
    assert pair.old.order.roster_changes is None
    assert pair.old.order.table.changed is None


def test_the_order_of_age_is_restored() -> None:
    pair = Pair(Limits(history=10, key_age=30.0, room_idle=20.0, max_all_keys=100))
    old = pair.old
    for number, name in enumerate(("c", "a", "b"), 1):
        old.now += 1
        old.publish(pair.one, number, name, b"", key="k")
    old.now += 1
    old.publish(pair.one, 4, "c", b"", key="k2")
    pair.round()
    pair.taker.settle()
    table = pair.new.order.table
    assert [key.time for key in table.keys._order] == [101.0, 102.0, 103.0, 104.0]
    assert list(table._idle) == ["a", "b", "c"]
    assert [room.name for room in table._remembering] == ["a", "b", "c"]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), history=st.sampled_from([0, 3, 100]), latest=st.booleans(), part=st.sampled_from([1, 2, 500]))
def test_changes_between_any_two_frames_arrive(seed: int, history: int, latest: bool, part: int) -> None:
    chance = random.Random(seed)
    pair = Pair(Limits(history=history, latest=latest, max_rooms=3, max_keys=4, history_age=chance.choice([None, 1e6])))
    old, number = pair.old, iter(range(1, 10_000))
    epochs = iter(range(10_000))
    old.order.table._new_epoch = lambda: f"{next(epochs):016}"

    def deed() -> None:
        name, link, who = chance.choice("abcde"), chance.choice([pair.one, pair.two]), chance.choice("xyz")
        old.now += chance.random()
        match chance.randrange(4):
            case 0 | 1 if len([each for each in old.order.table if old.order.table[each].members]) < 3 or name in old.order.table:
                key = chance.choice([None, f"key {chance.randrange(9)}"])
                old.publish(link, next(number), name, chance.randbytes(5), key=key, owner=chance.choice(["", "user ada", "user bob"]))
            case 2 if name in old.order.table and who not in old.order.table[name].members:
                old.join(link, name, who)
            case 3:
                old.order.leave(link, name, who)

    def frames() -> Iterator[bytes]:
        for _ in range(chance.randrange(2, 5)):
            yield from pair.giver.frames()

    with pytest.MonkeyPatch.context() as patch:
        for module in (given_rooms, succession):
            patch.setattr(module, "PART_ENTRIES", part)
        for frame in frames():
            pair.apply(frame)
            for _ in range(chance.randrange(4)):
                deed()
        pair.round()
    pair.check()
