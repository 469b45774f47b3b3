"""brokers/followed/joining.py: the order's answer and the live messages of the meantime become one answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.one_process import OneProcess, Seat, one_process
from wsdaemon.brokers.contract import Position, Subscribed
from wsdaemon.brokers.errors import AlreadySubscribed, BrokerUnavailable, NotSubscribed, RoomFull


def payloads(answer: Subscribed) -> list[bytes]:
    return [message.payload for message in answer.messages]


def begin(made: OneProcess, seat: Seat, since: Position | None = None, **options: Any) -> Any:
    return made.begin(made.broker.subscribe("room", seat, since, **options))


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_is_lost_or_doubled_between_the_answer_and_live_messages(first: bool, early: bool) -> None:
    """`first`: no other member is in the room. `early`: live messages come before the answer."""
    with one_process() as made:
        others = [] if first else made.join("other")
        made.publish("1", "2")
        made.settle()
        since = Position(made.position().epoch, 1)
        a = Seat("a")
        task = begin(made, a, since)
        made.link.ask_next()
        made.publish("3", "4")
        if early:
            made.link.deliver(1)
            made.link.deliver(1)
        made.settle()
        answer = task.result()
        assert [*payloads(answer), *[one.encode() for one in a.told]] == [b"2", b"3", b"4"]
        assert answer.offset == 2 + len(payloads(answer)) - 1
        assert all(other.told == ["1", "2", "3", "4"] for other in others)


def test_messages_between_the_answer_and_the_callers_turn_are_in_the_answer() -> None:
    with one_process() as made:
        (other,) = made.join("other")
        made.publish("1")
        made.settle()
        a = Seat("a")
        task = begin(made, a, made.position())
        made.link.ask_next()
        made.publish("2")
        made.link.deliver()  # the answer: the caller resumes in the next turn
        made.link.deliver()
        made.settle()
        assert (payloads(task.result()), a.told, other.told) == ([b"2"], [], ["1", "2"])


def test_an_answer_that_is_ahead_waits_for_the_live_messages() -> None:
    with one_process() as made:
        (other,) = made.join("other")
        made.publish("1")
        a = Seat("a")
        task = begin(made, a)
        made.link.ask_next()
        made.link.deliver(1)
        assert not task.done()
        made.settle()
        assert (task.result().offset, a.told, other.told) == (1, [], ["1"])


def test_a_member_that_joins_while_the_room_begins_anew_has_the_new_epoch() -> None:
    with one_process() as made:
        (other,) = made.join("other")
        made.publish("1")
        made.settle()
        since = made.position()
        a = Seat("a")
        task = begin(made, a, since)
        made.link.ask_next()
        made.order.restart()
        made.publish("2")
        made.loop.settle()
        made.link.connect()
        made.settle()
        answer = task.result()
        assert (answer.gap, answer.epoch, answer.offset) == (True, *made.position())
        assert [one for one in other.told if isinstance(one, str)] == ["1", "2"]


def test_a_join_whose_answer_was_lost_is_asked_again_and_counts_once() -> None:
    with one_process() as made:
        a = Seat("a")
        task = begin(made, a, presence=True)
        made.link.ask_next()
        made.link.cut("cut")
        made.loop.settle()
        made.link.connect()
        made.settle()
        assert [who.id for who in task.result().present] == ["a"]
        assert list(made.order.rooms["room"].members) == ["a"]


@pytest.mark.parametrize("how", ["cancelled", "removed"])
def test_a_member_that_goes_while_it_joins_is_in_no_room(how: str) -> None:
    with one_process() as made:
        a = Seat("a")
        task = begin(made, a)
        made.link.ask_next()
        if how == "cancelled":
            task.cancel()
        else:
            made.broker.remove(a)
        made.settle()
        if how == "removed":
            assert isinstance(task.exception(), NotSubscribed)
        assert (made.order.rooms["room"].members, made.link.followed, len(made.broker._rooms), made.broker.budget.used) == ({}, set(), 0, 0)


def test_errors_of_the_order_and_of_this_process() -> None:
    with one_process(max_members=1, options={"timeout": 2.0}) as made:
        (a,) = made.join("a")
        with pytest.raises(AlreadySubscribed):
            made.run(made.broker.subscribe("room", a))
        task = begin(made, Seat("b"))
        made.settle()
        assert isinstance(task.exception(), RoomFull)
        made.link.cut("cut")
        task = made.begin(made.broker.subscribe("elsewhere", a))
        made.loop.advance(2.0)
        assert isinstance(task.exception(), BrokerUnavailable)
        assert sorted(room.name for room in made.broker._rooms) == ["room"]


def test_presence_counts_from_the_answer() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        (b,) = made.join("b")
        made.join("c", room="elsewhere")
        made.broker.unsubscribe("room", b)
        made.settle()
        made.loop.advance(20)
        made.settle()
        assert a.told == ["+b", "-b"]


def test_a_pattern_with_positions_has_what_was_missed_and_continues_from_there() -> None:
    with one_process() as made:
        made.publish("1", "2", room="p.1")
        since = {"p.1": Position(made.position("p.1").epoch, 1), "p.2": Position("e", 5), "p.3": Position("old", 7)}
        made.publish("x", room="p.3")
        a = Seat("a")
        task = made.begin(made.broker.subscribe_pattern("p.*", a, since))
        made.settle()
        made.publish("3", room="p.1")
        made.publish("first", room="p.2")
        made.settle()
        one, two, three = task.result().rooms
        assert (payloads(one), one.offset, one.gap) == ([b"2"], 2, False)
        assert two == Subscribed("p.2", "", 0, gap=True)
        assert three == Subscribed("p.3", made.position("p.3").epoch, 1, gap=True)
        assert a.told == ["3", "first"]


def test_the_latest_message_is_that_of_the_answer() -> None:
    with one_process(latest=True) as made:
        (other,) = made.join("other")
        made.publish("1")
        made.settle()
        a = Seat("a")
        task = begin(made, a)
        made.link.ask_next()
        made.publish("2")
        made.link.deliver(1)
        made.settle()
        assert task.result().latest.payload == b"2"
        assert other.told == ["1", "2"] and a.told == []
