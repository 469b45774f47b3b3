"""Idempotency keys: the keys of the publications of the last minutes, in all rooms of one broker."""

from __future__ import annotations

from collections import OrderedDict

from .account import Account, share
from .budget import KEY_BYTES, Budget


class IdempotencyKey:
    """One key of one room. `keys`: all keys of that room, by name."""

    __slots__ = ("account", "cost", "keys", "name", "offset", "time")

    def __init__(self, name: str, offset: int, time: float, account: Account, keys: dict[str, IdempotencyKey]) -> None:
        self.name = name
        self.offset = offset
        self.time = time
        self.account = account
        self.keys = keys
        self.cost = KEY_BYTES + len(name) * (1 if name.isascii() else 4)


class KeyTable:
    """The keys of all rooms, oldest first: bounded by age in seconds, by number for each room and in all, and by the budget.

    An account may have an eighth of all keys, and of the keys of a room that is full; a new one then replaces its own oldest. `now` never
    goes back.
    """

    __slots__ = ("_age", "_budget", "_order", "_per_room", "_total")

    def __init__(self, budget: Budget, age: float, per_room: int, total: int) -> None:
        self._budget = budget
        self._age = age
        self._per_room = per_room
        self._total = total
        self._order: OrderedDict[IdempotencyKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def find(self, keys: dict[str, IdempotencyKey], name: str, now: float) -> int | None:
        """The offset of the publication that had this key, in the room with these keys; None if the key is new, or forgotten."""
        self.expire(now)
        found = keys.get(name)
        return None if found is None else found.offset

    def add(self, keys: dict[str, IdempotencyKey], name: str, offset: int, now: float, account: Account) -> None:
        """Remember a key for which `find` returned None."""
        if len(keys) >= self._per_room:
            self.forget(self._oldest_of_room(keys, account))
        if len(account.keys) >= (self._total if account is self._budget.house else share(self._total)):
            self.forget_oldest_of(account)
        if len(self._order) >= self._total:
            self.forget_oldest()
        key = keys[name] = IdempotencyKey(name, offset, now, account, keys)
        self._order[key] = account.keys[key] = None
        self._budget.take(account, key.cost)

    def _oldest_of_room(self, keys: dict[str, IdempotencyKey], account: Account) -> IdempotencyKey:
        """The key that makes way for one more of `account`, so that an account with its share of a room replaces its own."""
        if account is not self._budget.house:
            own = [key for key in keys.values() if key.account is account]
            if len(own) >= share(self._per_room):
                return own[0]
        return next(iter(keys.values()))

    def expire(self, now: float) -> None:
        """Forget all keys that are too old."""
        while self._order and now - next(iter(self._order)).time >= self._age:
            self.forget_oldest()

    def forget_oldest(self) -> bool:
        """Forget the oldest of all keys. Whether there was one."""
        for key in self._order:
            self.forget(key)
            return True
        return False

    def forget_oldest_of(self, account: Account) -> bool:
        """Forget the account's oldest key. Whether there was one."""
        for key in account.keys:
            self.forget(key)
            return True
        return False

    def settle(self) -> None:
        """Put keys that were added in any order into the order of their age."""
        for key in sorted(self._order, key=lambda key: key.time):
            self._order.move_to_end(key)
            key.account.keys.move_to_end(key)

    def forget(self, key: IdempotencyKey) -> None:
        """Forget one key."""
        del key.keys[key.name], self._order[key], key.account.keys[key]
        self._budget.give_back(key.account, key.cost)
