"""brokers/followed/repairs.py: what a loss costs: nothing, or a break that is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fake_link import FakeLink
from tests.support.one_process import one_process
from wsdaemon.brokers.contract import Position, Presence, Subscribed
from wsdaemon.brokers.followed.probes import CHECK_SECONDS
from wsdaemon.brokers.followed.repairs import DOUBT_SECONDS, MAX_REPAIRS, PAGE_MESSAGES, REORDER_SECONDS, SEPARATE_PATTERNS


def test_a_message_that_was_overtaken_is_asked_for_only_if_it_does_not_come() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        made.publish("1", "2", "3")
        made.link.deliver(1)
        made.link.deliver(1)
        assert a.told == []
        made.link.deliver()
        made.loop.advance(2 * REORDER_SECONDS)
        assert (a.told, made.questions()) == (["1", "2", "3"], 0)
        made.publish("4", "5")
        made.link.deliver(1)
        del made.link.events[0]
        made.loop.advance(2 * REORDER_SECONDS)
        made.settle()
        assert a.told == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("order", ["living", "restarted"])
def test_after_a_loss_each_member_has_all_it_missed_or_is_told(order: str) -> None:
    with one_process() as made:
        a, b = made.join("a", "b")
        made.publish("1")
        made.settle()
        if order == "restarted":
            made.order.restart()
        else:
            made.link.cut("cut")
        made.publish("2", "3")
        made.link.connect()
        made.settle()
        if order == "restarted":
            gap = Subscribed("room", made.position().epoch, 0, gap=True)
            assert a.told == b.told == ["1", gap, "2", "3"]
        else:
            assert a.told == b.told == ["1", "2", "3"]
        made.publish("4")
        made.settle()
        assert a.told[-1] == b.told[-1] == "4"


def test_a_loss_without_a_publication_is_told_to_no_member() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        made.publish("1")
        made.settle()
        for _ in range(3):
            made.link.cut("cut")
            made.link.connect()
            made.settle()
        assert a.told == ["1"]


def test_a_long_absence_is_read_page_by_page() -> None:
    with one_process(history=10_000, max_pending=10_000) as made:
        (a,) = made.join("a")
        made.link.cut("cut")
        made.publish(*map(str, range(2 * PAGE_MESSAGES + 5)))
        made.link.connect()
        made.settle()
        assert a.told == list(map(str, range(2 * PAGE_MESSAGES + 5)))


def test_a_history_that_is_too_short_is_a_break_with_the_position_before_the_messages_that_follow() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        made.publish("1")
        made.settle()
        made.link.cut("cut")
        made.publish("2", "3", "4", "5")
        made.order.trim("room", 2)
        made.link.connect()
        made.settle()
        assert a.told == ["1", Subscribed("room", made.position().epoch, 3, gap=True), "4", "5"]


def test_a_room_that_keeps_its_latest_alone_gives_it_with_the_break() -> None:
    with one_process(latest=True) as made:
        (a,) = made.join("a")
        made.link.cut("cut")
        made.publish("1", "2")
        made.order.trim("room", 0)
        made.link.connect()
        made.settle()
        (gap,) = a.told
        assert gap == Subscribed("room", made.position().epoch, 2, (gap.messages[0],), True)
        assert gap.messages[0].payload == b"2"


def test_a_last_message_that_is_missing_is_found_by_the_comparison_of_positions() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        made.publish("1")
        made.link.events.clear()
        made.pass_time(CHECK_SECONDS - 6)
        assert a.told == []
        made.pass_time(12)
        assert a.told == ["1"]


def test_a_question_without_an_answer_leads_to_another_comparison() -> None:
    with one_process(options={"timeout": 2.0}) as made:
        (a,) = made.join("a")
        made.link.cut("cut")
        made.publish("1")
        made.link.connect()
        made.loop.advance(2.0 + DOUBT_SECONDS)  # the order does not answer
        made.settle()
        assert a.told == ["1"]


def test_presence_after_a_loss_is_told_as_changes() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        made.order.join(made.other, "room", Presence("x", {}))
        made.settle()
        made.link.cut("cut")
        made.order.join(made.other, "room", Presence("y", {}))
        made.order.leave("room", "x")
        made.link.connect()
        made.settle()
        assert sorted(a.told) == ["+x", "+y", "-x"]


def test_presence_after_a_break_is_told_as_a_whole() -> None:
    with one_process() as made:
        (a,) = made.join("a", presence=True)
        made.order.join(made.other, "room", Presence("x", {}))
        made.settle()
        made.order.restart()
        made.link.connect()
        made.settle()
        assert a.told[0] == "+x"
        present = [{who.id for who in one.present} for one in a.told if isinstance(one, Subscribed) and one.present is not None]
        left = [one for one in a.told if one == "-x"]
        assert present == [{"a"}] or (present == [{"a", "x"}] and left)


@pytest.mark.parametrize("others", [0, SEPARATE_PATTERNS, 20])
def test_members_of_a_pattern_have_all_they_missed_of_rooms_known_and_new(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`others`: patterns of other rooms, of other members. However many there are, a check looks at the order's rooms a few times only."""
    looks: list[str] = []
    changed = FakeLink.changed

    def look(link: FakeLink, pattern: str, since: float, after: str, limit: int) -> Any:
        looks.append(pattern)
        return changed(link, pattern, since, after, limit)

    with one_process() as made:
        seat, other = made.join("a", "b", room="elsewhere")
        made.publish("old", room="new.before")
        made.run(made.broker.subscribe_pattern("new.*", seat))
        for number in range(others):
            made.run(made.broker.subscribe_pattern(f"others.{number}", other))
        made.publish("1", room="new.known")
        made.settle()
        monkeypatch.setattr(FakeLink, "changed", look)
        made.link.cut("cut")
        made.publish("2", room="new.known")
        made.publish("3", room="new.room")
        made.publish("4", room="new.before")
        made.publish("5", room="other.room")
        made.link.connect()
        made.settle()
        assert seat.told[0] == "1" and sorted(seat.told[1:]) == ["2", "3", "4"]
        assert other.told == []
        assert 1 <= len(looks) <= SEPARATE_PATTERNS


def test_members_of_a_pattern_are_given_none_of_a_long_history_before_their_subscription() -> None:
    with one_process(history=10_000, max_pending=10_000) as made:
        (seat,) = made.join("a", room="elsewhere")
        made.publish(*["old"] * (2 * PAGE_MESSAGES + 5), room="new.room")
        made.run(made.broker.subscribe_pattern("new.*", seat))
        made.link.cut("cut")
        made.publish("1", "2", room="new.room")
        made.link.connect()
        made.settle()
        assert seat.told == ["1", "2"]


def test_members_of_a_pattern_are_told_of_a_break_in_a_room_they_never_heard() -> None:
    with one_process() as made:
        (seat,) = made.join("a", room="elsewhere")
        made.run(made.broker.subscribe_pattern("new.*", seat))
        made.link.cut("cut")
        made.publish("1", "2", "3", room="new.room")
        made.order.trim("new.room", 1)
        made.link.connect()
        made.settle()
        assert seat.told == [("new.*", Subscribed("new.room", made.position("new.room").epoch, 2, gap=True)), "3"]


def test_members_of_a_pattern_are_told_of_a_break_with_the_pattern() -> None:
    with one_process() as made:
        (seat,) = made.join("a", room="elsewhere")
        made.run(made.broker.subscribe_pattern("new.*", seat))
        made.publish("1", room="new.room")
        made.settle()
        made.link.cut("cut")
        made.publish("2", "3", room="new.room")
        made.order.trim("new.room", 1)
        made.link.connect()
        made.settle()
        assert seat.told == ["1", ("new.*", Subscribed("new.room", made.position("new.room").epoch, 2, gap=True)), "3"]


def test_only_so_many_rooms_are_repaired_at_once() -> None:
    with one_process(max_subscriptions=1000) as made:
        seats = [made.join("a", room=f"room{number}")[0] for number in range(1)]
        for number in range(1, 3 * MAX_REPAIRS):
            made.run(made.broker.subscribe(f"room{number}", seats[0]))
        made.link.cut("cut")
        for number in range(3 * MAX_REPAIRS):
            made.publish("x", room=f"room{number}")
        made.link.connect()
        made.loop.settle()
        made.link.ask_next()  # the standings
        made.link.deliver()
        assert made.questions() <= MAX_REPAIRS
        made.settle()
        assert seats[0].told == ["x"] * 3 * MAX_REPAIRS


def test_messages_of_an_epoch_that_is_over_are_dropped() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        made.publish("old")
        made.settle()
        late = a.messages[0]
        made.order.restart()
        made.link.connect()
        made.settle()
        made.broker.message(late)
        made.loop.advance(2 * REORDER_SECONDS)
        made.settle()
        made.publish("new")
        made.settle()
        assert [one for one in a.told if isinstance(one, str)] == ["old", "new"]
        assert a.messages[-1].offset == 1 and made.position() == Position(a.messages[-1].epoch, 1)
