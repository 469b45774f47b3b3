"""brokers/budget.py: what rooms count for, beside what tracemalloc measures."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.brokers import Limits, budget, errors
from wsdaemon.brokers import contract as c
from wsdaemon.brokers.account import Account
from wsdaemon.brokers.contract import Message, Notice
from wsdaemon.brokers.memory import MemoryBroker

COUNT = 700


class Quiet:
    """A member that takes messages and keeps none; it is made before the measurement, as a connection is."""

    __slots__ = ("id", "identity")

    def __init__(self, number: int) -> None:
        self.id = f"member-{number}"
        self.identity = {"name": "ada", "method": "jwt:staff"}

    def deliver(self, message: Message) -> None: ...

    def presence_changed(self, notice: Notice) -> None: ...

    def interrupted(self, room: str, answer: c.Subscribed, pattern: str | None = None) -> None: ...


def broker(**limits: Any) -> MemoryBroker:
    made = MemoryBroker(
        Limits(**{"max_members": 10**6, "max_rooms": 10**6, "max_subscriptions": 10**6, "inline": 0, **limits}),
        lambda member, error: pytest.fail(str(error)), wake=lambda: None,
    )  # fmt: skip
    made.publish("warm", b"x", True, key="warm")
    made.subscribe_pattern("warm.*", Quiet(-1))
    return made


MEMBERS = [Quiet(number) for number in range(COUNT)]


def many_rooms(made: MemoryBroker) -> None:
    for number in range(COUNT):
        made.publish(f"room-{number}", b"", True)


def rooms_with_long_names(made: MemoryBroker) -> None:
    for number in range(COUNT):
        made.publish(f"{number:04}" + "ü" * 120, b"", True)


def many_members(made: MemoryBroker) -> None:
    for member in MEMBERS:
        made.subscribe("room", member, presence=True)


def many_subscriptions(made: MemoryBroker) -> None:
    for number in range(100):
        for member in MEMBERS[:20]:
            made.subscribe(f"room-{number}", member, presence=True)


def many_patterns(made: MemoryBroker) -> None:
    for number, member in enumerate(MEMBERS):
        made.subscribe_pattern(f"a{number}.b{number}.c{number}.*.>", member)


def patterns_of_many_tokens(made: MemoryBroker) -> None:
    for number, member in enumerate(MEMBERS):
        made.subscribe_pattern(".".join(f"{number}{letter}" for letter in "abcdefghij"), member)


def one_pattern_of_many(made: MemoryBroker) -> None:
    for member in MEMBERS:
        made.subscribe_pattern("a.*", member)


def a_long_history(made: MemoryBroker) -> None:
    for number in range(COUNT):
        made.publish("room", bytes(f"{number:0100}", "ascii"), True, publisher="member-1")


def large_messages(made: MemoryBroker) -> None:
    for _ in range(50):
        made.publish("room", bytes(100_000), False)


def latest_messages(made: MemoryBroker) -> None:
    for number in range(COUNT):
        made.publish(f"room-{number}", bytes(f"{number:0100}", "ascii"), True)


def many_keys(made: MemoryBroker) -> None:
    for number in range(COUNT):
        made.publish("room", b"", True, key=f"{number:0100}")


def waiting_deliveries(made: MemoryBroker) -> None:
    for member in MEMBERS[:60]:
        made.subscribe("room", member)  # a tuple of members for each
        made.publish("room", bytes(f"{len(member.id):01000}", "ascii"), True)


@pytest.mark.parametrize(
    ("act", "limits"),
    [
        (many_rooms, {}),
        (rooms_with_long_names, {}),
        (many_members, {}),
        (many_subscriptions, {}),
        (many_patterns, {}),
        (patterns_of_many_tokens, {}),
        (one_pattern_of_many, {}),
        (a_long_history, {"history": 10_000}),
        (a_long_history, {"history": 10_000, "history_age": 60.0}),
        (large_messages, {"history": 100, "history_bytes": 1 << 30}),
        (latest_messages, {"latest": True}),
        (many_keys, {"max_keys": 10_000}),
        (waiting_deliveries, {}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_counted_is_what_is_allocated(act: Callable[[MemoryBroker], None], limits: dict[str, Any]) -> None:
    made = broker(**limits)
    gc.collect()
    counted = made.budget.used
    tracemalloc.start()
    try:
        act(made)
        gc.collect()
        measured, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = made.budget.used - counted
    print(f"{act.__name__}: measured {measured}, counted {counted}, {counted / measured:.2f}")
    assert measured <= counted <= (3 if act is one_pattern_of_many else 2) * measured


def test_the_docs_have_the_figures() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "rooms.md").read_text()
    section = docs[docs.index("## Memory") : docs.index("## Slow members")]
    documented = {int(figure) for row in section.splitlines() if row.startswith("|") for figure in re.findall(r"[0-9]{3,}", row)}
    assert documented == {getattr(budget, name) for name in dir(budget) if name.endswith("_BYTES")}
    example = 10_000 * (budget.MEMBER_BYTES + 2 * budget.SUBSCRIPTION_BYTES)
    example += 5_000 * (budget.ROOM_BYTES + 100 * (budget.MESSAGE_BYTES + 200))
    assert f"{example / (1 << 20):.0f} MiB" in section


# -- what one owner may have, and what goes first


def house(**limits: Any) -> tuple[MemoryBroker, Account, Account]:
    """A broker with memory for some 80 rooms, and two owners of whom each may have ten."""
    made = MemoryBroker(
        Limits(**{"max_rooms": 80, "memory": 80 * (budget.ROOM_BYTES + 100), "inline": 0, "key_age": 60.0, **limits}),
        lambda member, error: pytest.fail(str(error)), wake=lambda: None,
    )  # fmt: skip
    return made, made.account("address 192.0.2.1"), made.account("address 192.0.2.2")


def test_one_owner_has_an_eighth_of_the_rooms_and_newcomers_still_come_in() -> None:
    made, one, other = house(memory=1 << 20)
    for number in range(10):
        made.subscribe(f"{number}", Quiet(number), account=one)
    with pytest.raises(errors.TooManyRooms, match="this address or user has 10 rooms"):
        made.subscribe("more", Quiet(99), account=one)
    made.subscribe("3", Quiet(99), account=one)  # a room that there is
    made.subscribe("more", Quiet(100), account=other)
    for number in range(69):
        made.publish(f"program-{number}", b"", True)  # the program itself has no share
    assert made.room_count == 80


def test_an_owner_with_all_its_rooms_replaces_its_own_empty_ones() -> None:
    made, one, other = house(history=5, memory=1 << 20)
    made.publish("other", b"", True, account=other)
    for number in range(30):
        made.publish(f"{number}", b"", True, account=one)
    assert [info.room for info in made.rooms().rooms] == sorted(["other", *map(str, range(20, 30))])


def test_one_owner_has_an_eighth_of_the_memory() -> None:
    made, one, other = house(latest=True)
    members = [Quiet(number) for number in range(20)]
    for number in range(4):
        made.subscribe(f"{number}", members[number], account=one)
    made.publish("0", bytes(3000), False, account=one)
    with pytest.raises(errors.MemoryFull, match="this address or user holds an eighth") as caught:
        made.publish("1", bytes(3000), False, account=one)
    assert caught.value.code == "memory" and one.bytes <= one.most
    made.publish("1", bytes(3000), False, account=other)
    made.publish("2", bytes(30_000), False)
    assert made.history("1").offset == 1  # the refused publication changed nothing


def test_histories_go_before_anything_is_refused() -> None:
    made, one, _ = house(history=1000, history_bytes=1 << 20)
    made.subscribe("busy", Quiet(1), account=one)
    for _ in range(100):
        made.publish("busy", bytes(500), False, account=one)
        made.fan.stop()
    held = made.history("busy").messages
    assert 5 < len(held) < 20 and held[-1].offset == 100
    assert one.bytes <= one.most


def test_of_all_the_memory_empty_rooms_go_first_then_histories_then_keys() -> None:
    made, _, _ = house(history=1000, history_bytes=1 << 20)
    made.subscribe("quiet", Quiet(1))
    made.subscribe("busy", Quiet(2))
    for name in ("quiet", "busy"):
        for number in range(20):
            made.publish(name, bytes(500), False, key=f"key-{number}")
    made.fan.stop()
    made.publish("empty", bytes(500), False)
    shown: list[tuple[bool, int, int, int]] = []

    def grow() -> None:
        for _ in range(1000):
            state = made._rooms.get("empty") is not None, len(made.history("quiet").messages), len(made.history("busy").messages)
            shown.append((*state, len(made._rooms.keys)))
            made._rooms.afford(made.budget.house, 400, made._rooms["busy"])
            made.budget.take(made.budget.house, 400)

    with pytest.raises(errors.MemoryFull, match=f"the rooms here hold all of their memory, {made.budget.limit} bytes"):
        grow()
    assert (shown[0], shown[-1]) == ((True, 20, 20, 40), (False, 0, 0, 0))
    assert shown == sorted(shown, reverse=True, key=lambda state: (state[0], state[2], state[1], state[3]))  # one after the other
    assert next(state for state in shown if not state[0])[1:3] in ((20, 20), (20, 19), (20, 18), (20, 17))


def test_one_owner_has_an_eighth_of_the_keys_and_its_oldest_go() -> None:
    made, one, other = house(max_all_keys=80, memory=1 << 20)
    made.publish("room", b"", True, key="other", account=other)
    for number in range(30):
        made.publish("room", b"", True, key=f"{number}", account=one)
    assert len(one.keys) == 10 and len(made._rooms.keys) == 11
    assert made.publish("room", b"", True, key="29", account=one).duplicate
    assert made.publish("room", b"", True, key="other", account=one).duplicate
    assert not made.publish("room", b"", True, key="0", account=one).duplicate


def test_one_owner_has_an_eighth_of_the_patterns() -> None:
    made, one, other = house(max_all_patterns=80, memory=1 << 20)
    for number in range(10):
        made.subscribe_pattern("a.*", Quiet(number), account=one)
    with pytest.raises(errors.TooManyPatterns, match="this address or user has 10 patterns"):
        made.subscribe_pattern("a.*", Quiet(99), account=one)
    made.subscribe_pattern("a.*", Quiet(100), account=other)
    for number in range(69):
        made.subscribe_pattern("a.*", Quiet(1000 + number))
    with pytest.raises(errors.TooManyPatterns, match="there are 80 patterns"):
        made.subscribe_pattern("b", Quiet(5000))


def test_deliveries_that_wait_count_and_have_a_bound_over_all_rooms() -> None:
    made, one, _ = house(memory=1 << 20)
    members = [Quiet(number) for number in range(10)]
    for number, member in enumerate(members):
        made.subscribe(f"{number}", member)
    published = 0

    def flood() -> None:
        nonlocal published
        for number in range(1000):
            made.publish(f"{number % 10}", bytes(10_000), False, account=one)
            published += 1

    with pytest.raises(errors.MemoryFull):
        flood()
    assert published == one.most // (10_000 + budget.MESSAGE_BYTES)
    while made.fan.step():
        pass
    assert one.bytes == 0
    made.publish("0", bytes(10_000), False, account=one)


def test_publishers_that_wait_count_and_have_a_bound() -> None:
    made, one, _ = house(memory=1 << 20)
    waiting = [made.waiting(50_000, one) for _ in range(3)]
    waiting[0].__enter__()
    waiting[1].__enter__()
    with pytest.raises(errors.MemoryFull):
        waiting[2].__enter__()
    waiting[0].__exit__(None, None, None)
    waiting[1].__exit__(None, None, None)
    assert one.bytes == made.budget.used == 0


def test_accounts_are_kept_only_while_something_refers_to_them() -> None:
    made, _, _ = house()
    gc.collect()
    for number in range(100):
        made.publish("room", b"", True, account=made.account(f"address {number}"))
    assert len(made.budget._accounts) <= 2


def test_when_the_broker_is_closed_nothing_counts() -> None:
    made, one, _ = house(history=10, latest=True)
    member = Quiet(1)
    made.subscribe("room", member, account=one)
    made.subscribe_pattern("a.*", member, account=one)
    made.publish("room", b"x", True, key="k", account=one)
    made.publish("a.b", b"x", True, key="k", account=one)
    made.close()
    assert made.budget.used == one.bytes == one.rooms == one.patterns == len(one.keys) == 0


class Speaker(Quiet):
    """A member that answers the first message, and keeps the bytes of an account as they were at each."""

    __slots__ = ("account", "counted", "made")

    def __init__(self, number: int, made: MemoryBroker, account: Account) -> None:
        super().__init__(number)
        self.made, self.account, self.counted = made, account, list[int]()

    def deliver(self, message: Message) -> None:
        self.counted.append(self.account.bytes)
        if len(self.counted) == 1:
            self.made.publish("room", bytes(1000), False, account=self.account)
            self.counted.append(self.account.bytes)


def test_a_message_counts_while_it_waits_and_not_while_the_call_that_publishes_delivers_it() -> None:
    made, one, _ = house(inline=100, memory=1 << 20)
    made.subscribe("room", Speaker(1, made, one))
    speaker = made._rooms["room"].members["member-1"]
    assert isinstance(speaker, Speaker)
    used = made.budget.used
    made.publish("room", bytes(5000), False, account=one)
    while made.fan.step():
        pass
    waiting = 1000 + budget.MESSAGE_BYTES
    assert speaker.counted == [0, waiting, waiting]
    assert one.bytes == 0 and made.budget.used == used


def test_messages_that_join_a_delivery_count_beside_it() -> None:
    made, one, _ = house(memory=1 << 20)
    made.fan._bulk = lambda members, messages: None
    made.subscribe("room", Quiet(1))
    used = made.budget.used
    for _ in range(3):
        made.publish("room", bytes(100), False, account=one)
    assert one.bytes == 3 * (100 + budget.MESSAGE_BYTES)
    assert made.budget.used - used == one.bytes + budget.DELIVERY_BYTES + 8
    made.fan.step()
    assert one.bytes == 0 and made.budget.used == used


@pytest.mark.parametrize("limits", [{"history": 3}, {"latest": True}, {"history": 3, "latest": True}, {"history": 5, "history_bytes": 700}])
def test_messages_that_replace_each_other_count_for_those_that_published_them(limits: dict[str, Any]) -> None:
    made, one, other = house(memory=1 << 20, **limits)
    made.subscribe("room", Quiet(1))
    for number in range(60):
        payer, size = (one, other)[number // 3 % 2], 100 + number % 4 * 50
        made.publish("room", bytes(size), False, account=payer)
        if number % 5:
            made.fan.step()
        waiting = made.fan.active and [message for item in made._rooms["room"].pending for message in getattr(item, "messages", ())]
        room = made._rooms["room"]
        held = {id(message): message for message in (*made.history("room").messages, *(waiting or ()), *([room.last] if room.last else []))}
        kept = [(message.account or made.budget.house, len(message.payload) + budget.MESSAGE_BYTES) for message in held.values()]
        for account in (one, other):
            assert account.bytes == sum(size for payer, size in kept if payer is account)
    while made.fan.step():
        pass
    made.close()
    assert one.bytes == other.bytes == made.budget.used == 0
