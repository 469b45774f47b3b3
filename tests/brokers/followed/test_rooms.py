"""brokers/followed/rooms.py: slow members, and rooms that only patterns hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.support.one_process import OneProcess, one_process
from wsdaemon.brokers.contract import Member, Presence
from wsdaemon.brokers.followed.room import ROSTER_BYTES
from wsdaemon.brokers.followed.rooms import PENDING_WHILE_BEHIND


class Slow:
    """Members without room for messages, until a test says otherwise."""

    def __init__(self) -> None:
        self.slow = True
        self.go_on: list[Callable[[], None]] = []

    def __call__(self, members: Sequence[Member], go_on: Callable[[], None]) -> bool:
        if self.slow:
            self.go_on.append(go_on)
        return self.slow

    def read(self) -> None:
        self.slow = False
        for call in self.go_on:
            call()
        self.go_on.clear()


def publish_all(made: OneProcess, count: int) -> list[str]:
    payloads = list(map(str, range(count)))
    made.publish(*payloads)
    made.settle()
    return payloads


def test_a_room_with_slow_members_is_held_for_all_publishers_and_let_go() -> None:
    slow = Slow()
    with one_process(options={"held": slow}, max_pending=4) as made:
        (a,) = made.join("a")
        payloads = publish_all(made, 6)
        assert (made.link.holding, a.told) == ({"room"}, [])
        slow.read()
        made.settle()
        assert (made.link.holding, a.told) == (set(), payloads)


def test_members_that_are_very_slow_cost_a_bounded_number_of_messages_and_lose_none() -> None:
    slow = Slow()
    with one_process(options={"held": slow}, max_pending=4, history=1000) as made:
        (a,) = made.join("a")
        payloads = publish_all(made, 10 * PENDING_WHILE_BEHIND)
        state = made.broker._rooms.get("room")
        assert state is not None and state.behind
        assert state.waiting <= 4 * PENDING_WHILE_BEHIND
        slow.read()
        made.settle()
        assert (a.told, state.behind, made.link.holding) == (payloads, False, set())


def test_a_room_whose_messages_waited_when_the_link_was_cut_is_declared_as_held() -> None:
    slow = Slow()
    with one_process(options={"held": slow}, max_pending=4) as made:
        made.join("a")
        publish_all(made, 6)
        made.link.cut("cut")
        made.link.connect()
        assert made.link.holding == {"room"}
        slow.read()
        made.settle()
        assert made.link.holding == set()


def test_rooms_that_only_patterns_hear_have_a_bound() -> None:
    with one_process(max_rooms=3) as made:
        (a,) = made.join("a", room="own")
        made.run(made.broker.subscribe_pattern("heard.*", a))
        for number in range(10):
            made.publish("x", room=f"heard.{number}")
            made.settle()
        assert len(a.told) == 10
        assert sorted(room.name for room in made.broker._rooms) == ["heard.7", "heard.8", "heard.9", "own"]
        made.publish("again", room="heard.0")
        made.settle()
        assert a.told[-1] == "again"


def test_a_roster_counts_by_its_members_on_all_processes() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        used = made.broker.budget.used
        for number in range(10):
            made.order.join(made.other, "room", Presence(str(number), {}))
        made.settle()
        assert made.broker.budget.used - used == 10 * ROSTER_BYTES
        made.order.leave("room", "3")
        made.settle()
        assert made.broker.budget.used - used == 9 * ROSTER_BYTES
        made.broker.unsubscribe("room", a)
        assert made.broker.budget.used == 0


def test_all_memory_is_given_back() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        made.run(made.broker.subscribe_pattern("heard.*", a))
        made.publish("x", room="heard.1")
        made.settle()
        assert made.broker.budget.used > 0
        made.broker.remove(a)
        made.broker.sweep()
        made.settle()
        assert (made.broker.budget.used, len(made.broker._rooms), made.link.followed, made.link.patterns) == (0, 0, set(), set())
