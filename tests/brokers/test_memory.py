from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from wsdaemon.brokers import HISTORY_COUNT, Limits, errors
from wsdaemon.brokers import contract as c
from wsdaemon.brokers.contract import Broker, Member, Message, Notice, Position, Published
from wsdaemon.brokers.memory import MemoryBroker


class Listener:
    """A member that keeps what it is given. `reaction` is called with each message, after that was kept."""

    def __init__(self, key: str, reaction: Callable[[Message], object] | None = None, **identity: Any) -> None:
        self.id = key
        self.identity: Mapping[str, Any] = identity
        self.reaction = reaction
        self.messages: list[Message] = []
        self.notices: list[Notice] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)
        if self.reaction is not None:
            self.reaction(message)

    def presence_changed(self, notice: Notice) -> None:
        self.notices.append(notice)

    def interrupted(self, room: str, answer: c.Subscribed, pattern: str | None = None) -> None:
        raise AssertionError("the memory broker never interrupts")

    @property
    def offsets(self) -> list[int]:
        return [message.offset for message in self.messages]

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(change.kind, change.who.id) for notice in self.notices for change in notice.changes]


class Bench:
    """A broker with a clock that stands still, and epochs e1, e2 and so on."""

    def __init__(self, sliced: bool = False, **limits: Any) -> None:
        self.now = 100.0
        self.epochs = 0
        self.wakes = 0
        self.failed: list[tuple[str, str]] = []
        self.broker = MemoryBroker(
            Limits(**limits),
            lambda member, error: self.failed.append((member.id, str(error))),
            wake=self._wake if sliced else None,
            clock=lambda: self.now,
            wall=lambda: 1e9 + self.now,
            new_epoch=self._new_epoch,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def _new_epoch(self) -> str:
        self.epochs += 1
        return f"e{self.epochs}"

    def publish(self, room: str = "room", count: int = 1, **options: Any) -> Published:
        for _ in range(count):
            answer = self.broker.publish(room, b"payload", True, **options)
        return answer

    def join(self, *keys: str, room: str = "room", **options: Any) -> list[Listener]:
        listeners = [Listener(key) for key in keys]
        for listener in listeners:
            self.broker.subscribe(room, listener, **options)
        return listeners

    def recover(self, epoch: str, offset: int, key: str = "back") -> tuple[list[int], bool]:
        answer = self.broker.subscribe("room", Listener(key), Position(epoch, offset))
        return [message.offset for message in answer.messages], answer.gap

    def drain(self) -> None:
        while self.broker.fan.step():
            pass


def test_it_is_a_broker() -> None:
    broker: Broker = Bench().broker
    member: Member = Listener("a")
    assert isinstance(broker.subscribe("room", member), c.Subscribed)


def test_what_one_publishes_all_are_given_as_it_came() -> None:
    bench = Bench()
    a, b = bench.join("a", "b")
    text = bench.broker.publish("room", "é".encode(), True, publisher="a", content_type="text/plain")
    binary = bench.broker.publish("room", b"\xff", False)
    assert (text, binary) == (Published("e1", 1, False, 2), Published("e1", 2, False, 2))
    assert a.messages == b.messages
    one, two = a.messages
    assert (one.room, one.epoch, one.offset, one.payload, one.text, one.time) == ("room", "e1", 1, "é".encode(), True, 1e9 + 100)
    assert (one.publisher, one.content_type) == ("a", "text/plain")
    assert (two.payload, two.text, two.publisher) == (b"\xff", False, None)
    assert "payload" not in repr(one) and "'room' e1:1 text, 2 bytes" in repr(one)


def test_without_echo_the_publisher_is_passed_over() -> None:
    bench = Bench()
    a, b = bench.join("a", "b")
    assert bench.publish(publisher="a", echo=False).members == 1
    assert bench.publish(publisher="elsewhere", echo=False).members == 2
    assert (a.offsets, b.offsets) == ([2], [1, 2])
    bench.broker.remove(b)
    assert bench.publish(publisher="a", echo=False).members == 0


def test_a_key_publishes_once() -> None:
    bench = Bench(key_age=5.0)
    (a,) = bench.join("a")
    assert bench.publish(key="k") == Published("e1", 1, False, 1)
    bench.publish()
    assert bench.publish(key="k") == Published("e1", 1, True, 0)
    assert bench.publish("other", key="k") == Published("e2", 1, False, 0)
    bench.now += 5
    assert bench.publish(key="k") == Published("e1", 3, False, 1)
    assert a.offsets == [1, 2, 3]
    for key in ("", "x" * 257):
        with pytest.raises(errors.BadKey):
            bench.publish(key=key)


def test_a_key_is_not_used_up_by_what_was_refused() -> None:
    bench = Bench(rate=1.0)
    bench.publish(key="first")
    with pytest.raises(errors.RateLimited) as refused:
        bench.publish(key="second")
    assert refused.value.retry_after == 1.0
    assert bench.publish(key="first").duplicate  # a retry costs no token and is not refused
    bench.now += 1
    assert bench.publish(key="second") == Published("e1", 2, False, 0)


def test_recovery() -> None:
    bench = Bench(history=3)
    bench.publish(count=5)
    assert bench.recover("e1", 5, "a") == ([], False)
    assert bench.recover("e1", 3, "b") == ([4, 5], False)
    assert bench.recover("e1", 2, "c") == ([3, 4, 5], False)
    assert bench.recover("e1", 1, "d") == ([], True)
    assert bench.recover("e1", 6, "e") == ([], True)
    assert bench.recover("e1", -1, "f") == ([], True)
    assert bench.recover("e0", 5, "g") == ([], True)


def test_recovery_without_a_history_is_possible_where_nothing_was_missed() -> None:
    bench = Bench()
    bench.publish()
    assert bench.recover("e1", 1, "a") == ([], False)
    assert bench.recover("e1", 0, "b") == ([], True)


def test_what_is_too_old_is_not_recovered_whether_it_was_swept_or_not() -> None:
    bench = Bench(history_age=10.0)
    bench.publish()
    bench.now += 5
    bench.publish()
    bench.now += 5
    assert bench.recover("e1", 1, "a") == ([2], False)
    assert bench.recover("e1", 0, "b") == ([], True)
    assert bench.broker.limits.history_count == HISTORY_COUNT


def test_newcomers_are_given_the_latest() -> None:
    bench = Bench(latest=True)
    assert bench.broker.subscribe("room", Listener("a")).latest is None
    bench.publish(count=2)
    newcomer = bench.broker.subscribe("room", Listener("b"))
    assert newcomer.latest is not None and newcomer.latest.offset == newcomer.offset == 2
    assert bench.broker.subscribe("room", Listener("c"), Position("e1", 2)).latest is None
    assert bench.broker.subscribe("room", Listener("d"), Position("e1", 1)).latest is newcomer.latest


def test_errors_change_nothing() -> None:
    bench = Bench(max_rooms=1, max_members=2, max_patterns=1, max_subscriptions=1)
    a, _ = bench.join("a", "b")
    newcomer = Listener("c")
    refused: list[tuple[type[errors.BrokerError], Callable[[], object]]] = [
        (errors.RoomFull, lambda: bench.broker.subscribe("room", newcomer)),
        (errors.TooManyRooms, lambda: bench.broker.subscribe("second", newcomer)),
        (errors.TooManyRooms, lambda: bench.publish("second")),
        (errors.TooManySubscriptions, lambda: bench.broker.subscribe("second", a)),
        (errors.AlreadySubscribed, lambda: bench.broker.subscribe("room", a)),
        (errors.DuplicateMember, lambda: bench.broker.subscribe("room", Listener("a"))),
        (errors.DuplicateMember, lambda: bench.broker.subscribe_pattern(">", Listener("a"))),
        (errors.NotSubscribed, lambda: bench.broker.unsubscribe("room", newcomer)),
        (errors.NotSubscribed, lambda: bench.broker.unsubscribe("room", Listener("a"))),
        (errors.NotSubscribed, lambda: bench.broker.unsubscribe("second", a)),
        (errors.NotSubscribed, lambda: bench.broker.unsubscribe_pattern("room", a)),
        (errors.BadRoom, lambda: bench.broker.subscribe("a b", newcomer)),
        (errors.BadRoom, lambda: bench.publish("")),
        (errors.BadPattern, lambda: bench.broker.subscribe_pattern("a*", newcomer)),
        (errors.BadRoom, lambda: bench.broker.subscribe_pattern("a.*", newcomer, {"b": Position("e", 1)})),
    ]
    for error, call in refused:
        with pytest.raises(error) as raised:
            call()
        assert raised.value.code == error.code
    bench.broker.subscribe_pattern("a.*", newcomer)
    with pytest.raises(errors.AlreadySubscribed):
        bench.broker.subscribe_pattern("a.*", newcomer)
    with pytest.raises(errors.TooManyPatterns):
        bench.broker.subscribe_pattern("b.*", newcomer)
    assert bench.broker.room_count == 1
    assert bench.broker.presence("room").count == 2
    bench.broker.remove(Listener("a"))  # another member with that id
    bench.broker.remove(Listener("stranger"))
    assert bench.broker.presence("room").count == 2


def test_patterns_give_each_message_once() -> None:
    bench = Bench()
    a, b = Listener("a"), Listener("b")
    bench.broker.subscribe_pattern("prices.*", a)
    bench.broker.subscribe_pattern("prices.>", a)
    bench.broker.subscribe_pattern(">", b)
    bench.broker.subscribe("prices.eur", a)
    assert bench.publish("prices.eur").members == 2
    assert bench.publish("prices.eur.spot").members == 2
    assert bench.publish("news").members == 1
    assert [message.room for message in a.messages] == ["prices.eur", "prices.eur.spot"]
    assert bench.broker.presence("prices.eur").count == 1
    bench.broker.unsubscribe_pattern("prices.*", a)
    bench.broker.unsubscribe("prices.eur", a)
    assert bench.publish("prices.eur", publisher="a", echo=False).members == 1
    bench.broker.unsubscribe_pattern("prices.>", a)
    bench.broker.remove(b)
    assert bench.publish("prices.eur").members == 0


def test_a_pattern_recovers_the_rooms_that_are_named() -> None:
    bench = Bench(history=2)
    bench.publish("p.a", 3)
    bench.publish("p.b", 3)
    known = {"p.b": Position("e2", 2), "p.a": Position("e1", 0), "p.c": Position("e", 1)}
    answer = bench.broker.subscribe_pattern("p.*", Listener("a"), known)
    assert [(room.room, room.epoch, room.offset, len(room.messages), room.gap) for room in answer.rooms] == [
        ("p.b", "e2", 3, 1, False),
        ("p.a", "e1", 3, 0, True),
        ("p.c", "", 0, 0, True),
    ]
    assert bench.broker.room_count == 2  # asking made no room


def test_many_listeners_by_pattern_are_not_kept_in_every_room() -> None:
    bench = Bench()
    for number in range(65):
        bench.broker.subscribe_pattern(">", Listener(str(number)))
    assert bench.publish("quiet").members == 65
    assert bench.broker._rooms["quiet"].targets is None


def test_presence() -> None:
    bench = Bench()
    watcher, other = Listener("watcher", user="ann"), Listener("other", user="bob")
    present = bench.broker.subscribe("room", watcher, presence=True).present
    assert present == (c.Presence("watcher", {"user": "ann"}),)
    assert bench.broker.subscribe("room", other).present is None
    bench.broker.unsubscribe("room", other)
    late = Listener("late")
    assert [who.id for who in bench.broker.subscribe("room", late, presence=True).present or ()] == ["watcher", "late"]
    bench.broker.remove(watcher)
    assert watcher.changes == [("joined", "other"), ("left", "other"), ("joined", "late")]
    assert watcher.notices[0].changes[0].who.identity == {"user": "bob"}
    assert late.changes == [("left", "watcher")]
    bench.join("x", "y")
    assert [who.id for who in bench.broker.presence("room", 2).members] == ["late", "x"]
    assert bench.broker.presence("room").count == 3
    assert bench.broker.presence("nowhere") == c.PresencePage(0, ())


def test_history_pages() -> None:
    bench = Bench(history=3)
    bench.publish(count=5)

    def page(since: Position | None, limit: int = 2, reverse: bool = False) -> tuple[list[int], bool]:
        found = bench.broker.history("room", since, limit, reverse)
        assert (found.epoch, found.offset, found.first) == ("e1", 5, 3)
        return [message.offset for message in found.messages], found.gap

    assert page(None) == ([3, 4], False)
    assert page(Position("e1", 4)) == ([5], False)
    assert page(Position("e1", 1)) == ([3, 4], True)
    assert page(Position("e0", 4)) == ([3, 4], True)
    assert page(Position("e1", 9)) == ([3, 4], True)
    assert page(None, reverse=True) == ([5, 4], False)
    assert page(Position("e1", 4), reverse=True) == ([3], False)
    assert page(Position("e0", 4), reverse=True) == ([5, 4], True)
    assert bench.broker.history("nowhere") == c.HistoryPage("nowhere", "", 0, 1)
    assert bench.broker.history("nowhere", Position("e1", 1)).gap
    for limit in (0, c.MAX_PAGE + 1):
        with pytest.raises(ValueError, match="limit"):
            bench.broker.history("room", limit=limit)
        with pytest.raises(ValueError, match="limit"):
            bench.broker.rooms(limit=limit)


def test_rooms_come_in_pages_by_name() -> None:
    bench = Bench(history=2)
    for name in ("c", "a.x", "b", "a.y", "a.z"):
        bench.publish(name, 3)
    bench.join("m", room="b")
    page = bench.broker.rooms(limit=3)
    assert [room.room for room in page.rooms] == ["a.x", "a.y", "a.z"] and page.after == "a.z"
    page = bench.broker.rooms(page.after, limit=3)
    assert page.rooms == (c.RoomInfo("b", "e3", 3, 1, 2), c.RoomInfo("c", "e1", 3, 0, 2)) and page.after is None
    page = bench.broker.rooms(limit=2, pattern="a.*")
    assert [room.room for room in page.rooms] == ["a.x", "a.y"] and page.after == "a.y"
    with pytest.raises(errors.BadPattern):
        bench.broker.rooms(pattern="a*")


def test_only_empty_rooms_are_evicted_and_the_least_recently_used_first() -> None:
    bench = Bench(max_rooms=3, history=5)
    (a,) = bench.join("a", room="full")
    bench.publish("old")
    bench.publish("older")
    bench.publish("old")
    bench.publish("new")
    assert [room.room for room in bench.broker.rooms().rooms] == ["full", "new", "old"]
    bench.broker.remove(a)
    bench.publish("newer")  # a room that was never published to goes before rooms with a past
    assert [room.room for room in bench.broker.rooms().rooms] == ["new", "newer", "old"]
    assert bench.publish("older").epoch == "e6"  # a new life


def test_a_room_that_still_delivers_is_not_evicted() -> None:
    bench = Bench(sliced=True, inline=0, max_rooms=1)
    listener = Listener("a")
    bench.broker.subscribe_pattern(">", listener)
    bench.publish("one")
    with pytest.raises(errors.TooManyRooms):
        bench.publish("two")
    bench.drain()
    bench.publish("two")
    bench.drain()
    assert [message.room for message in listener.messages] == ["one", "two"]


def test_sweeping_forgets_rooms_whose_time_is_over() -> None:
    bench = Bench(history_age=100.0, room_idle=10.0, key_age=5.0)
    (a,) = bench.join("a", room="left")
    bench.join("b", room="full")
    bench.broker.remove(a)
    bench.publish("past")
    bench.now += 9.9
    assert bench.broker.sweep() == 0
    bench.now += 0.1
    assert bench.broker.sweep() == 1
    assert [room.room for room in bench.broker.rooms().rooms] == ["full", "past"]
    bench.now += 90
    assert bench.broker.sweep(1) == 1
    assert [room.room for room in bench.broker.rooms().rooms] == ["full"]
    assert bench.broker.sweep() == 0


def test_sweeping_frees_what_is_too_old_in_rooms_that_live_on() -> None:
    bench = Bench(history_age=10.0)
    bench.join("a")
    bench.publish()
    bench.now += 6
    bench.publish()
    bench.now += 4
    history = bench.broker._rooms["room"].history
    assert bench.broker.sweep() == 1 and len(history) == 1
    bench.now += 10
    assert bench.broker.sweep() == 1 and len(history) == 0
    assert bench.broker.sweep() == 0
    bench.publish()
    bench.now += 10
    assert bench.broker.sweep() == 1 and len(history) == 0


def test_a_history_without_an_age_is_kept_until_rooms_are_too_many() -> None:
    bench = Bench(history=1)
    bench.publish()
    bench.now += 1e9
    assert bench.broker.sweep() == 0
    assert bench.broker.room_count == 1


def test_a_sweep_leaves_alone_what_is_still_delivered() -> None:
    bench = Bench(sliced=True, inline=0, room_idle=1.0, key_age=1.0)
    bench.broker.subscribe_pattern(">", Listener("a"))
    bench.publish()
    bench.now += 2
    assert bench.broker.sweep() == 1
    assert bench.broker.room_count == 1
    bench.drain()
    bench.now += 2
    bench.broker.sweep()
    assert bench.broker.room_count == 0


def test_a_closed_broker_refuses() -> None:
    bench = Bench(sliced=True, inline=0)
    (a,) = bench.join("a")
    bench.publish()
    bench.broker.close()
    bench.broker.close()
    bench.drain()
    assert a.messages == []
    bench.broker.remove(a)
    for call in (bench.publish, lambda: bench.join("b"), lambda: bench.broker.unsubscribe("room", a), bench.broker.rooms):
        with pytest.raises(errors.BrokerClosed):
            call()


def test_nothing_is_kept_of_a_member_that_left() -> None:
    bench = Bench()
    a, b = bench.join("a", "b", presence=True)
    bench.broker.subscribe_pattern(">", a)
    bench.broker.remove(a)
    bench.broker.unsubscribe("room", b)
    assert not bench.broker._holders and not bench.broker._patterns
    presence = bench.broker._rooms["room"].presence
    assert presence is not None and not presence.watchers and not len(presence)


def test_the_epoch_is_64_random_bits() -> None:
    epochs = {MemoryBroker(Limits(), lambda member, error: None).publish("room", b"", True).epoch for _ in range(10)}
    assert len(epochs) == 10 and all(len(epoch) == 16 and int(epoch, 16) >= 0 for epoch in epochs)


def test_answers_do_not_change() -> None:
    answer = Bench().broker.subscribe("room", Listener("a"))
    with pytest.raises(FrozenInstanceError):
        answer.gap = True  # type: ignore[misc]
