"""Delivery that waits for members without room: no message is lost or reordered, the wait has an end, and other rooms go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.brokers.test_memory import Listener
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Member
from wsdaemon.brokers.errors import Busy
from wsdaemon.brokers.local.outbox import MAX_CHANGES_WHILE_HELD
from wsdaemon.brokers.memory import MemoryBroker


class Hall:
    """A broker whose members have room, or have not. The clock stands still."""

    def __init__(self, bulk: bool = False, **limits: Any) -> None:
        self.slow: set[str] = set()
        self.waiting: list[Callable[[], None]] = []
        self.asked = 0
        self.failed: list[tuple[str, str]] = []
        self.broker = MemoryBroker(
            Limits(**{"inline": 0, **limits}),
            lambda member, error: self.failed.append((member.id, str(error))),
            wake=lambda: None,
            bulk=self._bulk if bulk else None,
            held=self._held,
            clock=lambda: 100.0,
        )

    def _held(self, members: Sequence[Member], go_on: Callable[[], None]) -> bool:
        self.asked += 1
        if self.slow.isdisjoint(member.id for member in members):
            return False
        self.waiting.append(go_on)
        return True

    @staticmethod
    def _bulk(members: Sequence[Member], messages: Any) -> None:
        for member in members:
            for message in messages:
                member.deliver(message)

    def join(self, *keys: str, room: str = "room", **options: Any) -> list[Listener]:
        listeners = [Listener(key) for key in keys]
        for listener in listeners:
            self.broker.subscribe(room, listener, **options)
        return listeners

    def publish(self, count: int = 1, room: str = "room", **options: Any) -> None:
        for _ in range(count):
            self.broker.publish(room, b"payload", True, **options)

    def drain(self) -> None:
        while self.broker.fan.step():
            pass

    def have_room(self, *keys: str) -> None:
        """Those of these names have room now, and the broker is told."""
        self.slow -= set(keys)
        waiting, self.waiting = self.waiting, []
        for go_on in waiting:
            go_on()
        self.drain()


def test_nobody_is_given_more_until_all_have_room() -> None:
    hall = Hall()
    a, b = hall.join("a", "b")
    hall.slow = {"b"}
    hall.publish(3)
    hall.drain()
    assert (a.offsets, b.offsets) == ([], [])
    assert len(hall.waiting) == 1, "asked once, not again and again"
    hall.have_room("b")
    assert (a.offsets, b.offsets) == ([1, 2, 3], [1, 2, 3])


def test_one_who_is_still_slow_is_waited_for_again() -> None:
    hall = Hall()
    a, *_ = hall.join("a", "b", "c")
    hall.slow = {"b", "c"}
    hall.publish()
    hall.drain()
    hall.have_room("b")
    assert a.offsets == [] and len(hall.waiting) == 1
    hall.have_room("c")
    assert a.offsets == [1]


def test_publishers_find_the_room_busy_meanwhile() -> None:
    hall = Hall(max_pending=3)
    (a,) = hall.join("a")
    hall.slow = {"a"}
    hall.publish(3)
    hall.drain()
    try:
        hall.publish()
    except Busy:
        hall.have_room("a")
    hall.publish()
    hall.drain()
    assert a.offsets == [1, 2, 3, 4]


def test_another_room_goes_on() -> None:
    hall = Hall()
    hall.join("a")
    (b,) = hall.join("b", room="other")
    hall.slow = {"a"}
    hall.publish()
    hall.publish(2, room="other")
    hall.drain()
    assert b.offsets == [1, 2]


def test_a_message_that_is_begun_goes_to_all() -> None:
    hall = Hall()
    members = hall.join("a", "b", "c")
    hall.publish(2)
    hall.broker.fan.step(1)
    hall.slow = {"c"}
    hall.drain()
    assert [member.offsets for member in members] == [[1], [1], [1]]
    hall.have_room("c")
    assert [member.offsets for member in members] == [[1, 2], [1, 2], [1, 2]]


def test_who_publishes_or_has_left_is_not_asked() -> None:
    hall = Hall()
    a, b, c = hall.join("a", "b", "c")
    hall.slow = {"a", "b"}
    hall.publish(publisher="a", echo=False)
    hall.broker.unsubscribe("room", b)
    hall.drain()
    assert (a.offsets, b.offsets, c.offsets) == ([], [], [1])


def test_a_room_that_waits_takes_newcomers_and_gives_them_what_is_later() -> None:
    hall = Hall(history=10)
    (a,) = hall.join("a")
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    (b,) = hall.join("b")
    hall.publish()
    hall.have_room("a")
    assert (a.offsets, b.offsets) == ([1, 2], [2])


def test_watchers_are_told_what_happened_in_its_order() -> None:
    hall = Hall()
    (a,) = hall.join("a", presence=True)
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    (b, _) = hall.join("b", "c")
    hall.broker.remove(b)
    hall.drain()
    assert a.changes == []
    hall.have_room("a")
    assert a.offsets == [1] and a.changes == [("joined", "c")]  # and nothing of one that came and left meanwhile


def test_a_notice_waits_for_nobody() -> None:
    hall = Hall()
    (a,) = hall.join("a", presence=True)
    hall.slow = {"a"}
    hall.join("b")
    hall.drain()
    assert a.changes == [("joined", "b")] and hall.asked == 0


def test_when_too_many_come_and_go_nobody_is_waited_for() -> None:
    hall = Hall()
    (a,) = hall.join("a", presence=True)
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    most = 0
    for number in range(3 * MAX_CHANGES_WHILE_HELD):
        hall.join(f"b{number}")
        hall.drain()
        most = max(most, len(hall.broker._rooms["room"].presence or ()))
    assert most == MAX_CHANGES_WHILE_HELD
    assert a.offsets == [1]
    assert len(a.changes) == 3 * MAX_CHANGES_WHILE_HELD


def test_when_too_many_have_left_nobody_is_waited_for() -> None:
    hall = Hall()
    (a,) = hall.join("a")
    others = hall.join(*(f"b{number}" for number in range(MAX_CHANGES_WHILE_HELD + 10)))
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    for count, other in enumerate(others):
        hall.broker.remove(other)
        hall.drain()
        assert a.offsets == ([] if count < MAX_CHANGES_WHILE_HELD else [1])
    assert hall.broker._rooms["room"].settled == {}


def test_the_same_for_members_who_have_patterns() -> None:
    hall = Hall()
    (a,) = hall.join("a")
    others = [Listener(f"b{number}") for number in range(MAX_CHANGES_WHILE_HELD + 1)]
    for other in others:
        hall.broker.subscribe_pattern(">", other)
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    for other in others:
        assert a.offsets == []
        hall.broker.remove(other)
    hall.drain()
    assert a.offsets == [1]


def test_a_call_that_comes_late_changes_nothing() -> None:
    """The room waits no longer, and what is called then belongs to an earlier wait."""
    hall = Hall()
    (a,) = hall.join("a")
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    [late] = hall.waiting
    hall.have_room("a")
    hall.slow = {"a"}
    hall.publish()
    hall.drain()
    late()
    hall.drain()
    assert a.offsets == [1] and len(hall.waiting) == 1, "it is held by the second wait still"
    hall.broker.close()
    hall.have_room("a")
    assert a.offsets == [1]


KEYS = "abcd"
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(["room", "other"])),
        st.tuples(st.sampled_from(["slow", "room", "join", "leave"]), st.sampled_from(KEYS)),
        st.tuples(st.just("step"), st.integers(1, 5)),
    ),
    max_size=60,
)


@given(steps=steps, bulk=st.booleans())
def test_each_is_given_exactly_what_was_published_while_it_was_a_member(steps: list[tuple[str, Any]], bulk: bool) -> None:
    hall = Hall(bulk)
    hall.join("z", room="other")
    members: dict[str, Listener] = {}
    expected: dict[str, list[int]] = {}
    published = 0
    for doing, what in steps:
        if doing == "publish":
            try:
                hall.publish(room=what)
            except Busy:
                continue
            if what == "room":
                published += 1
                for key in members:
                    expected[key].append(published)
        elif doing == "join" and what not in members:
            [members[what]] = hall.join(what)
            expected[what] = []
        elif doing == "leave" and what in members:
            gone, owed = members.pop(what), expected.pop(what)
            hall.broker.remove(gone)
            assert gone.offsets == owed[: len(gone.offsets)]
        elif doing == "slow":
            hall.slow.add(what)
        elif doing == "room":
            hall.have_room(what)
        elif doing == "step":
            hall.broker.fan.step(what)
    hall.drain()
    while hall.waiting:
        hall.have_room(*KEYS)
    assert {key: member.offsets for key, member in members.items()} == expected
    assert hall.broker.fan.active == set()
