"""brokers/keys.py: idempotency keys of all rooms."""

from __future__ import annotations

from wsdaemon.brokers.budget import KEY_BYTES, Budget
from wsdaemon.brokers.keys import IdempotencyKey, KeyTable

AGE = 5.0


def table(per_room: int = 10, total: int = 100) -> tuple[KeyTable, Budget]:
    budget = Budget(1 << 20)
    return KeyTable(budget, AGE, per_room, total), budget


def test_a_key_is_remembered_until_it_is_too_old() -> None:
    keys, budget = table()
    room: dict[str, IdempotencyKey] = {}
    keys.add(room, "a", 1, 0.0, budget.house)
    assert keys.find(room, "a", 4.9) == 1
    assert keys.find(room, "b", 4.9) is None
    assert keys.find({}, "a", 4.9) is None
    assert keys.find(room, "a", AGE) is None
    assert len(keys) == len(room) == budget.used == 0


def test_the_oldest_key_of_a_room_makes_room_for_a_new_one() -> None:
    keys, budget = table(per_room=2)
    room: dict[str, IdempotencyKey] = {}
    other: dict[str, IdempotencyKey] = {}
    keys.add(other, "a", 7, 0.0, budget.house)
    for offset, key in enumerate("abc", 1):
        keys.add(room, key, offset, 0.0, budget.house)
    assert [keys.find(room, key, 1.0) for key in "abc"] == [None, 2, 3]
    assert keys.find(other, "a", 1.0) == 7


def test_the_oldest_key_of_all_makes_room_for_a_new_one() -> None:
    keys, budget = table(total=3)
    rooms: list[dict[str, IdempotencyKey]] = [{} for _ in range(5)]
    for number, room in enumerate(rooms):
        keys.add(room, "k", number, 0.0, budget.house)
    assert [keys.find(room, "k", 1.0) for room in rooms] == [None, None, 2, 3, 4]


def test_keys_count_with_their_characters_and_for_their_owner() -> None:
    keys, budget = table()
    one, room = budget.account("one"), dict[str, IdempotencyKey]()
    keys.add(room, "abc", 1, 0.0, one)
    keys.add(room, "über", 2, 0.0, one)
    assert one.bytes == budget.used == 2 * KEY_BYTES + 3 + 4 * 4
    assert keys.forget_oldest_of(one) and list(room) == ["über"]
    assert keys.forget_oldest() and not keys.forget_oldest() and not keys.forget_oldest_of(one)
    assert one.bytes == budget.used == 0


def test_an_account_cannot_push_the_keys_of_others_out_of_a_room() -> None:
    budget = Budget(1 << 30)
    keys = KeyTable(budget, 60.0, 80, 10_000)
    room: dict[str, IdempotencyKey] = {}
    one, other = budget.account("one"), budget.account("other")
    for number in range(70):
        keys.add(room, f"other-{number}", number, 0.0, other)
    for number in range(500):
        keys.add(room, f"one-{number}", number, 1.0, one)
    assert len(room) == 80 and [key.name for key in one.keys] == [f"one-{number}" for number in range(490, 500)]
    assert len(other.keys) == 70
    for number in range(100):
        keys.add(room, f"program-{number}", number, 2.0, budget.house)
    assert len(room) == 80 and keys.find(room, "program-99", 2.0) == 99
