"""Delivery in slices: order, who is owed what, members that call the broker, and members that fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.brokers.test_memory import Bench, Listener
from wsdaemon.brokers import contract as c
from wsdaemon.brokers import errors
from wsdaemon.brokers.contract import Message, Position
from wsdaemon.brokers.local.fan import MEMBERS_PER_SLICE


def sliced(**limits: Any) -> Bench:
    return Bench(sliced=True, **{"inline": 0, **limits})


def test_a_small_room_is_served_at_once_and_a_large_one_in_slices() -> None:
    bench = Bench(sliced=True, inline=2)
    small = bench.join("a", "b")
    bench.publish()
    assert [listener.offsets for listener in small] == [[1], [1]] and bench.wakes == 0
    large = [*small, *bench.join("c")]
    bench.publish()
    assert [listener.offsets for listener in large] == [[1], [1], []] and bench.wakes == 1
    assert bench.broker.fan.step(2)
    assert [listener.offsets for listener in large] == [[1, 2], [1, 2], []]
    assert not bench.broker.fan.step(2)
    assert [listener.offsets for listener in large] == [[1, 2], [1, 2], [2]]
    assert not bench.broker.fan.step()


def test_the_owner_is_woken_once_until_it_is_done() -> None:
    bench = sliced()
    bench.join("a")
    bench.publish(count=2)
    bench.publish("room")
    assert bench.wakes == 1
    bench.drain()
    bench.publish()
    assert bench.wakes == 2


def test_a_later_message_waits_for_an_earlier_one() -> None:
    bench = Bench(sliced=True, inline=1)
    a, b = bench.join("a", "b")
    bench.publish()
    bench.broker.unsubscribe("room", a)
    bench.publish()  # to one member, but that one has not yet had the first
    assert b.offsets == []
    bench.drain()
    assert (a.offsets, b.offsets) == ([], [1, 2])


def test_one_who_joins_meanwhile_gets_the_later_messages_live_and_the_earlier_by_recovery() -> None:
    bench = sliced(history=10)
    a, b = bench.join("a", "b")
    bench.publish(count=2)
    bench.broker.fan.step(1)
    late = Listener("late")
    answer = bench.broker.subscribe("room", late, Position("e1", 1))
    assert (answer.offset, [message.offset for message in answer.messages]) == (2, [2])
    bench.publish()
    bench.drain()
    assert (a.offsets, b.offsets, late.offsets) == ([1, 2, 3], [1, 2, 3], [3])


def test_one_who_leaves_and_comes_back_meanwhile_is_given_nothing_twice() -> None:
    bench = sliced(history=10)
    _, b = bench.join("a", "b")
    bench.publish(count=2)
    bench.broker.fan.step(1)
    bench.broker.unsubscribe("room", b)
    answer = bench.broker.subscribe("room", b, Position("e1", 0))
    assert [message.offset for message in answer.messages] == [1, 2]
    bench.publish()
    bench.drain()
    assert b.offsets == [3]


def test_one_who_leaves_a_pattern_meanwhile_is_given_nothing_more() -> None:
    bench = sliced()
    a = Listener("a")
    bench.broker.subscribe_pattern("x.*", a)
    bench.broker.subscribe_pattern("*.y", a)
    bench.publish("x.y")
    bench.publish("x.z")
    bench.broker.unsubscribe_pattern("x.*", a)
    bench.drain()
    assert [message.room for message in a.messages] == ["x.y"]


def test_one_who_leaves_a_room_that_its_pattern_still_matches_is_given_everything() -> None:
    bench = sliced()
    (a,) = bench.join("a")
    bench.broker.subscribe_pattern(">", a)
    bench.publish(count=2)
    bench.broker.unsubscribe("room", a)
    bench.drain()
    assert a.offsets == [1, 2]


def test_what_a_pattern_owes_comes_before_the_answer_to_a_subscribe() -> None:
    bench = sliced()
    a = Listener("a")
    bench.broker.subscribe_pattern(">", a)
    bench.publish(count=2)
    assert bench.broker.subscribe("room", a).offset == 2
    assert a.offsets == [1, 2]
    bench.publish()
    bench.broker.subscribe_pattern("*", a, {"room": Position("e1", 2)})
    assert a.offsets == [1, 2, 3]
    bench.drain()
    assert a.offsets == [1, 2, 3]


def test_one_that_fails_or_removes_itself_while_it_catches_up_is_not_subscribed() -> None:
    bench = sliced()
    gone = Listener("gone", lambda message: bench.broker.remove(gone))
    bench.broker.subscribe_pattern(">", gone)
    broken = Listener("broken", lambda message: 1 / 0)
    bench.broker.subscribe_pattern(">", broken)
    bench.publish()
    with pytest.raises(errors.NotSubscribed):
        bench.broker.subscribe("room", gone)
    with pytest.raises(ZeroDivisionError):
        bench.broker.subscribe("room", broken)
    assert bench.broker.presence("room").count == 0


def test_too_many_waiting_publications_are_refused_and_leave_no_trace() -> None:
    bench = sliced(max_pending=2, history=10)
    (a,) = bench.join("a")
    bench.publish(count=2, publisher="a")
    with pytest.raises(errors.Busy):
        bench.publish(key="k")
    bench.publish("elsewhere")
    bench.drain()
    assert not bench.publish(key="k").duplicate
    bench.drain()
    assert a.offsets == [1, 2, 3]
    assert bench.broker.history("room").offset == 3


def test_rooms_take_turns() -> None:
    bench = sliced(max_members=1000)
    large = bench.join(*[f"large{number}" for number in range(MEMBERS_PER_SLICE * 3)])
    small = bench.join("small", room="small")
    bench.publish("room")
    bench.publish("small")
    assert bench.broker.fan.step(MEMBERS_PER_SLICE + 1)
    assert small[0].offsets == [1]
    assert sum(bool(listener.messages) for listener in large) == MEMBERS_PER_SLICE


def test_a_deadline_ends_a_step() -> None:
    bench = sliced(max_members=1000)
    listeners = bench.join(*map(str, range(MEMBERS_PER_SLICE * 3)))
    bench.publish()
    assert bench.broker.fan.step(10**6, deadline=bench.now)
    assert sum(bool(listener.messages) for listener in listeners) == MEMBERS_PER_SLICE
    assert not bench.broker.fan.step(10**6, deadline=bench.now + 1)
    assert all(listener.messages for listener in listeners)


def test_in_bulk_what_waits_for_the_same_members_leaves_together() -> None:
    bench = sliced(max_pending=3)
    calls: list[tuple[list[str], list[int]]] = []
    bench.broker.fan._bulk = lambda members, messages: calls.append(
        ([member.id for member in members], [message.offset for message in messages])
    )
    _, b, _ = bench.join("a", "b", "c")
    bench.publish(count=2)
    bench.publish(publisher="a", echo=False)  # not for the same members
    with pytest.raises(errors.Busy):
        bench.publish()
    assert bench.broker.fan.step(1)
    bench.broker.remove(b)
    bench.drain()
    assert calls == [(["a"], [1, 2]), (["c"], [1, 2]), (["c"], [3])]
    bench.publish()
    bench.join("d")
    bench.publish()
    bench.drain()
    assert calls[3:] == [(["a", "c"], [4]), (["a", "c", "d"], [5])]


def test_in_bulk_nothing_joins_what_is_half_delivered() -> None:
    bench = sliced()
    calls: list[tuple[str, list[int]]] = []
    bench.broker.fan._bulk = lambda members, messages: calls.extend(
        (member.id, [message.offset for message in messages]) for member in members
    )
    bench.join("a", "b")
    bench.publish()
    assert bench.broker.fan.step(1)
    bench.publish()
    bench.drain()
    assert calls == [("a", [1]), ("b", [1]), ("a", [2]), ("b", [2])]


def test_frames_are_kept_only_while_the_message_is_delivered() -> None:
    seen = []

    def frame(message: Message) -> None:
        message.cache = message.cache or {"frame": object()}
        seen.append(message.cache["frame"])

    bench = sliced(history=5)
    for key in "ab":
        bench.broker.subscribe("room", Listener(key, frame))
    bench.publish()
    bench.drain()
    assert seen[0] is seen[1]
    assert bench.broker.history("room").messages[0].cache is None


@pytest.mark.parametrize("with_slices", [False, True])
def test_an_answer_from_inside_deliver_keeps_the_order_for_all(with_slices: bool) -> None:
    bench = Bench(sliced=with_slices)
    a = Listener("a", lambda message: bench.publish() if message.offset == 1 else None)
    b = Listener("b")
    bench.broker.subscribe("room", a)
    bench.broker.subscribe("room", b)
    bench.publish()
    bench.drain()
    assert a.offsets == b.offsets == [1, 2]


def test_a_member_may_remove_others_and_itself() -> None:
    bench = Bench()
    b = Listener("b")

    def leave(message: Message) -> None:
        bench.broker.remove(a)
        bench.broker.remove(b)

    a = Listener("a", leave)
    bench.broker.subscribe("room", a)
    bench.broker.subscribe("room", b)
    (last,) = bench.join("c")
    bench.publish()
    assert (a.offsets, b.offsets, last.offsets) == ([1], [], [1])


def test_a_member_may_close_the_broker() -> None:
    bench = sliced()
    bench.broker.subscribe("room", Listener("a", lambda message: bench.broker.close()))
    (b,) = bench.join("b")
    bench.publish(count=2)
    bench.drain()
    assert b.messages == []


def test_one_that_fails_is_removed_and_the_others_are_served() -> None:
    bench = Bench()
    broken = Listener("broken", lambda message: 1 / 0)
    bench.broker.subscribe("room", broken)
    (b,) = bench.join("b", presence=True)
    bench.publish(count=2)
    assert broken.offsets == [1] and b.offsets == [1, 2]
    assert bench.failed == [("broken", "division by zero")]
    assert b.changes == [("left", "broken")]


def test_one_that_fails_at_a_notice_is_removed_too() -> None:
    class Broken(Listener):
        def presence_changed(self, notice: c.Notice) -> None:
            raise ValueError("no")

    bench = Bench()
    bench.broker.subscribe("room", Broken("broken"), presence=True)
    bench.join("a", "b")
    assert bench.failed == [("broken", "no")]
    assert bench.broker.presence("room").count == 2


def test_many_changes_make_few_notices_and_all_who_see_alike_share_one() -> None:
    bench = sliced()
    first, second = bench.join("first", "second", presence=True)
    bench.drain()
    first.notices.clear()
    crowd = bench.join(*map(str, range(100)), presence=True)
    for listener in crowd[:50]:
        bench.broker.remove(listener)
    bench.drain()
    assert len(first.notices) == 1 and first.notices[0] is second.notices[0]
    assert first.changes == [("joined", str(number)) for number in range(50, 100)]  # nothing of those that came and left meanwhile
    assert crowd[0].notices == []
    assert crowd[98].changes == [("joined", "99")] + [("left", str(number)) for number in range(50)]
    presence = bench.broker._rooms["room"].presence
    assert presence is not None and not len(presence)


def test_a_notice_waits_for_the_messages_before_it() -> None:
    order: list[str] = []

    class Watcher(Listener):
        def deliver(self, message: Message) -> None:
            order.append(f"message {message.offset}")

        def presence_changed(self, notice: c.Notice) -> None:
            order.extend(f"{change.kind} {change.who.id}" for change in notice.changes)

    bench = sliced()
    bench.broker.subscribe("room", Watcher("w"), presence=True)
    (a,) = bench.join("a")
    bench.publish()
    bench.broker.remove(a)
    bench.join("b")
    bench.publish()
    bench.drain()
    assert order == ["joined a", "message 1", "left a", "joined b", "message 2"]


def test_a_watcher_that_left_is_told_nothing_more() -> None:
    bench = sliced()
    first, second = bench.join("first", "second", presence=True)
    bench.join("a")
    assert bench.broker.fan.step(1)
    bench.broker.unsubscribe("room", second)
    bench.drain()
    assert first.changes == [("joined", "second"), ("joined", "a"), ("left", "second")]
    assert second.changes == []


def test_a_newcomer_is_given_nothing_before_its_answer() -> None:
    bench = Bench(sliced=True)

    class Greeter(Listener):
        def presence_changed(self, notice: c.Notice) -> None:
            bench.publish()

    bench.broker.subscribe("room", Greeter("greeter"), presence=True)
    (newcomer,) = bench.join("a")
    assert newcomer.messages == []
    bench.drain()
    assert newcomer.offsets == [1]


def test_step_does_nothing_when_called_from_inside_a_step() -> None:
    bench = sliced()
    answers = []
    bench.broker.subscribe("room", Listener("a", lambda message: answers.append(bench.broker.fan.step())))
    (b,) = bench.join("b")
    bench.publish()
    bench.drain()
    assert answers == [True] and b.offsets == [1]
