"""A room of the broker in memory."""

from __future__ import annotations

from ..core.rate import TokenBucket
from . import Limits
from .account import Account
from .budget import ROOM_BYTES, Budget
from .contract import Message, Position, Presence, Subscribed
from .history import History
from .keys import IdempotencyKey
from .local.rooms import LocalRoom


class Room(LocalRoom):
    """One life of a room. `account`: of the address or user that created it; the room counts there with `cost` bytes.

    `touched`: the time of its last publication, join or leave, kept up to date while it is empty. `published_at`: in the hub, the time of
    the last publication, in seconds since 1970; 0 if there was none.
    """

    __slots__ = (
        "account",
        "bucket",
        "cost",
        "epoch",
        "history",
        "keys",
        "last",
        "published_at",
        "touched",
    )

    def __init__(self, name: str, epoch: str, limits: Limits, now: float, budget: Budget, account: Account) -> None:
        super().__init__(name)
        self.account = account
        self.cost = room_cost(name)
        self.epoch = epoch
        self.history = History(limits.history_count, limits.history_age, limits.history_bytes, budget)
        self.keys: dict[str, IdempotencyKey] | None = None
        self.bucket: TokenBucket | None = None
        self.change_rate(limits, now)
        self.last: Message | None = None
        self.touched = now
        self.published_at = 0.0

    def change_rate(self, limits: Limits, now: float) -> None:
        """Have the rate of these limits from now on."""
        self.bucket = None if limits.rate is None else TokenBucket(limits.rate, limits.burst, now)

    def missed(self, since: Position | None, now: float) -> tuple[tuple[Message, ...], bool]:
        """The messages after `since`, and whether there is a gap."""
        if since is None:
            return (), False
        self.history.trim(now)
        if since.epoch != self.epoch or not self.history.first(self.offset) - 1 <= since.offset <= self.offset:
            return (), True
        return tuple(self.history.between(since.offset + 1, self.offset + 1, self.offset)), False

    def answer(self, since: Position | None, now: float, present: tuple[Presence, ...] | None = None) -> Subscribed:
        messages, gap = self.missed(since, now)
        return Subscribed(self.name, self.epoch, self.offset, messages, gap, self.last if gap or since is None else None, present)


def room_cost(name: str) -> int:
    """Bytes that a room of this name counts for, besides its messages and keys."""
    return ROOM_BYTES + len(name) * (1 if name.isascii() else 4)
