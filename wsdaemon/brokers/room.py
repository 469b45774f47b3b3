"""A room of the broker in memory, and the rooms and patterns of a member."""

from __future__ import annotations

from ..core.rate import TokenBucket
from . import Limits
from .account import Account
from .budget import ROOM_BYTES, Budget
from .contract import Member, Message, Position, Presence, Subscribed
from .history import History
from .keys import IdempotencyKey
from .outbox import Outbox
from .patterns import matches


class Room(Outbox):
    """One life of a room. `account`: of the address or user that created it; the room counts there with `cost` bytes.

    `touched`: the time of its last publication, join or leave, kept up to date while it is empty.
    """

    __slots__ = (
        "account",
        "bucket",
        "cost",
        "epoch",
        "history",
        "keys",
        "last",
        "members",
        "offset",
        "targets",
        "targets_version",
        "touched",
    )

    def __init__(self, name: str, epoch: str, limits: Limits, now: float, budget: Budget, account: Account) -> None:
        super().__init__(name)
        self.account = account
        self.cost = room_cost(name)
        self.epoch = epoch
        self.offset = 0
        self.history = History(limits.history_count, limits.history_age, limits.history_bytes, budget)
        self.keys: dict[str, IdempotencyKey] | None = None
        self.bucket: TokenBucket | None = None
        if limits.rate is not None:
            self.bucket = TokenBucket(limits.rate, limits.burst, now)
        self.last: Message | None = None
        self.members: dict[str, Member] = {}
        self.targets: tuple[Member, ...] | None = None
        self.targets_version = -1
        self.touched = now

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


class Holder:
    """The rooms and patterns of one member, which count in `account`."""

    __slots__ = ("account", "member", "patterns", "presence", "rooms")

    def __init__(self, member: Member, account: Account) -> None:
        self.account = account
        self.member = member
        self.presence = Presence(member.id, member.identity)
        self.rooms: dict[Room, None] = {}  # in the order of its subscriptions, in which it leaves them
        self.patterns: set[str] = set()

    def hears(self, room: str) -> bool:
        """Whether one of its patterns matches."""
        return any(matches(pattern, room) for pattern in self.patterns)
