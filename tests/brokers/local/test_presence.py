"""brokers/presence.py: what watchers are told of a room's members, and how often."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.brokers.test_memory import Listener
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Change, Message, Notice, Presence
from wsdaemon.brokers.local.outbox import Outbox
from wsdaemon.brokers.local.presence import (
    CHANGES_TOLD_PER_SECOND,
    MAX_INTERVAL_SECONDS,
    MAX_UNDONE_CHANGES,
    PASS_BURST,
    PASS_INTERVAL_SECONDS,
    NoticePass,
    PresenceChanges,
)
from wsdaemon.brokers.memory import MemoryBroker


class Hall:
    """A broker whose timers and deliveries happen when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.awake = False
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.broker = MemoryBroker(
            Limits(max_members=100_000, inline=0), lambda member, error: pytest.fail(str(error)), wake=self.wake, later=self.later,
            clock=lambda: self.now,
        )  # fmt: skip

    def wake(self) -> None:
        self.awake = True

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, call))

    def deliver(self) -> None:
        while self.awake:
            self.awake = self.broker.fan.step()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and min(self.timers)[0] <= end:
            due = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(due)
            self.now = due[0]
            due[1]()
            self.deliver()
        self.now = end

    def join(self, *names: str, presence: bool = False) -> list[Listener]:
        made = [Listener(name) for name in names]
        for listener in made:
            self.broker.subscribe("room", listener, presence=presence)
            self.deliver()
        return made

    def leave(self, listener: Listener) -> None:
        self.broker.unsubscribe("room", listener)
        self.deliver()

    @property
    def presence(self) -> PresenceChanges:
        presence = self.broker._rooms["room"].presence
        assert presence is not None
        return presence

    def settled(self) -> list[Listener]:
        """Watchers and one member, after the room was quiet for long."""
        watchers = self.join(*(f"w{number}" for number in range(20)), presence=True)
        self.advance(10 * MAX_INTERVAL_SECONDS)
        for each in watchers:
            each.notices.clear()
        return watchers


def test_a_client_that_comes_and_goes_costs_each_watcher_a_notice_a_second() -> None:
    hall = Hall()
    [watcher, *_] = hall.settled()
    hostile = Listener("hostile")
    for _ in range(1000):
        hall.broker.subscribe("room", hostile, presence=True)
        hall.deliver()
        hall.leave(hostile)
        hall.advance(0.01)
    hall.advance(10 * MAX_INTERVAL_SECONDS)
    assert PASS_BURST < len(watcher.notices) <= PASS_BURST + 10 / PASS_INTERVAL_SECONDS + 1
    assert watcher.changes == [("joined", "hostile"), ("left", "hostile")] * (len(watcher.changes) // 2)
    assert not len(hall.presence)


def test_the_first_changes_after_a_pause_are_told_at_once() -> None:
    hall = Hall()
    [watcher, *_] = hall.settled()
    guests = hall.join(*"abcde")
    assert watcher.changes == [("joined", name) for name in "abcde"]
    hall.leave(guests[0])
    assert len(watcher.changes) == PASS_BURST
    hall.join("f")
    hall.advance(PASS_INTERVAL_SECONDS)
    assert watcher.changes[5:] == [("left", "a"), ("joined", "f")]
    assert len(watcher.notices) == PASS_BURST + 1


def test_one_that_came_and_left_meanwhile_is_not_told_of_but_to_a_newcomer_that_saw_it() -> None:
    hall = Hall()
    [watcher, *_] = hall.settled()
    hall.join(*"abcde")
    [passing] = hall.join("passing")
    [newcomer] = hall.join("newcomer", presence=True)
    hall.leave(passing)
    [late] = hall.join("late", presence=True)
    hall.advance(PASS_INTERVAL_SECONDS)
    assert watcher.changes[5:] == [("joined", "newcomer"), ("joined", "late")]
    assert newcomer.changes == [("left", "passing"), ("joined", "late")]
    assert late.changes == []


def test_one_that_left_and_came_back_meanwhile_never_left() -> None:
    hall = Hall()
    [watcher, *_] = hall.settled()
    guests = hall.join(*"abcde")
    hall.leave(guests[0])
    [newcomer] = hall.join("newcomer", presence=True)
    hall.broker.subscribe("room", guests[0])
    hall.advance(PASS_INTERVAL_SECONDS)
    assert watcher.changes[5:] == [("joined", "newcomer")]
    assert newcomer.changes == [("joined", "a")]


def test_a_room_with_more_to_tell_tells_it_less_often() -> None:
    now = 0.0
    presence = PresenceChanges(lambda: now)
    for number in range(2000):
        presence.watch(Listener(f"w{number}"))
    presence.take()

    def waits(changes: int) -> float:
        nonlocal now
        now += 1000
        for number in range(changes):
            presence._pending[str(number)] = (number, None)  # type: ignore[assignment]
        presence.take()
        return presence._due - now

    assert waits(1) == PASS_INTERVAL_SECONDS
    assert waits(CHANGES_TOLD_PER_SECOND // 1000) == pytest.approx(2.0)
    assert waits(CHANGES_TOLD_PER_SECOND) == MAX_INTERVAL_SECONDS


def test_what_newcomers_must_hear_has_a_bound() -> None:
    """Watchers that come and go one after the other, each of whom was shown the one before."""
    hall = Hall()
    hall.settled()
    hall.join(*"abcde")
    most = 0
    previous = Listener("first")
    hall.broker.subscribe("room", previous, presence=True)
    for number in range(3 * MAX_UNDONE_CHANGES):
        following = Listener(str(number))
        hall.broker.subscribe("room", following, presence=True)
        hall.leave(previous)
        previous = following
        most = max(most, len(hall.presence))
    assert MAX_UNDONE_CHANGES < most <= MAX_UNDONE_CHANGES + 10


def test_when_nobody_watches_nothing_is_kept() -> None:
    hall = Hall()
    [watcher] = hall.join("w", presence=True)
    hall.join(*(str(number) for number in range(20)))
    assert len(hall.presence) > 10
    hall.leave(watcher)
    assert not len(hall.presence)
    hall.join("more")
    assert not len(hall.presence)
    hall.advance(60.0)
    assert not hall.timers and not hall.presence.watchers


def test_a_member_is_not_told_to_have_left_before_its_messages_came() -> None:
    hall = Hall()
    order: list[str] = []

    class Watcher(Listener):
        def deliver(self, message: Message) -> None:
            order.append("message")

        def presence_changed(self, notice: Notice) -> None:
            order.extend(change.kind for change in notice.changes)

    hall.broker.subscribe("room", Watcher("w"), presence=True)
    guest = Listener("guest")
    hall.broker.subscribe("room", guest)
    hall.broker.publish("room", b"bye", True, publisher="guest")
    hall.broker.unsubscribe("room", guest)
    hall.deliver()
    assert order == ["joined", "message", "left"]


def test_making_notices_counts_as_delivering() -> None:
    """A thousand watchers that each know something else are not told in one slice."""
    presence = PresenceChanges(lambda: 0.0)
    made = Hall()
    watchers = [Listener(str(number)) for number in range(1000)]
    for watcher in watchers:
        presence.watch(watcher)
        presence.note(made_change(watcher))
    notice_pass = NoticePass(presence)
    runs = 0
    while notice_pass.left:
        used = notice_pass.run(Outbox("room"), 128, lambda member, error: pytest.fail(str(error)))
        assert used <= 128 + 1000
        runs += 1
    assert runs > 500
    assert all(len(watcher.changes) == 999 - number for number, watcher in enumerate(watchers))
    assert made.timers == []


def made_change(watcher: Listener) -> Change:
    return Change("joined", Presence(watcher.id, watcher.identity))


def test_a_broker_that_is_closed_tells_nothing_later() -> None:
    hall = Hall()
    [watcher, *_] = hall.settled()
    hall.join(*"abcdefgh")
    before = len(watcher.notices)
    hall.broker.close()
    hall.advance(60.0)
    assert len(watcher.notices) == before


def test_passes_that_begin_early_do_not_add_up_to_a_longer_wait() -> None:
    """A change behind messages that wait begins a pass before its time; a hundred of them would make the next one wait for a minute."""
    presence = PresenceChanges(lambda: 0.0)
    for number in range(100):
        presence.note(Change("joined", Presence(str(number), {})))
        presence.take()
    assert presence.wait == MAX_INTERVAL_SECONDS


@pytest.mark.parametrize("delivered", [False, True])
def test_a_watcher_that_leaves_for_another_process_is_told_all_that_waits(delivered: bool) -> None:
    """Changes of a pass that waits behind others in the outbox, and changes that no pass has taken; the other watchers are told as ever."""
    hall = Hall()
    [watcher, other, *_] = hall.settled()
    local, room = hall.broker._local, hall.broker._rooms["room"]
    hall.broker.subscribe("room", Listener("a"))
    hall.broker.publish("room", b"x", True)
    hall.broker.subscribe("room", Listener("b"))
    if delivered:
        hall.deliver()
        hall.join(*"cdef")
    hall.broker.subscribe("room", Listener("g"))
    names = "abcdefg" if delivered else "abg"
    assert local.tell_changes(room, watcher)
    assert watcher.changes == [("joined", name) for name in names]
    assert not local.tell_changes(room, Listener("no member"))
    hall.deliver()
    hall.advance(MAX_INTERVAL_SECONDS)
    assert [watcher.changes, other.changes] == [[("joined", name) for name in names]] * 2


def test_a_watcher_that_was_told_early_is_told_that_a_member_has_left_again() -> None:
    hall = Hall()
    [watcher, other, *_] = hall.settled()
    hall.join(*"abcde")
    [passing] = hall.join("passing")
    hall.broker._local.tell_changes(hall.broker._rooms["room"], watcher)
    hall.leave(passing)
    hall.advance(PASS_INTERVAL_SECONDS)
    assert watcher.changes[5:] == [("joined", "passing"), ("left", "passing")]
    assert other.changes[5:] == []
