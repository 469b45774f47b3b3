"""A room as far as its members of this process are concerned, and the rooms and patterns of one member."""

from __future__ import annotations

from ..account import Account
from ..contract import Member, Presence
from ..patterns import matches
from .outbox import Outbox


class LocalRoom(Outbox):
    """The members of this process in a room, and the deliveries that it owes them.

    `offset`: of the last message that the outbox was given. `targets`: the members that are given a message now, see `LocalMembers`.
    """

    __slots__ = ("members", "offset", "targets", "targets_version")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.offset = 0
        self.members: dict[str, Member] = {}
        self.targets: tuple[Member, ...] | None = None
        self.targets_version = -1


class Holder:
    """The rooms and patterns of one member, which count in `account`."""

    __slots__ = ("account", "member", "patterns", "presence", "rooms")

    def __init__(self, member: Member, account: Account) -> None:
        self.account = account
        self.member = member
        self.presence = Presence(member.id, member.identity)
        self.rooms: dict[LocalRoom, None] = {}  # in the order of its subscriptions, in which it leaves them
        self.patterns: set[str] = set()

    def hears(self, room: str) -> bool:
        """Whether one of its patterns matches."""
        return any(matches(pattern, room) for pattern in self.patterns)

    def heard_by(self, room: str) -> str | None:
        """The first of its patterns, sorted, that matches."""
        return min((pattern for pattern in self.patterns if matches(pattern, room)), default=None)
