"""The outbox of a room: messages and notices that not every member of this process has been given yet. The `fan` delivers it."""

from __future__ import annotations

from typing import Protocol

from ..budget import Budget
from ..contract import Bulk, Failed, Member
from .breaks import BreakPass
from .presence import PresenceChanges

MAX_CHANGES_WHILE_HELD = 1000
"""Changes of presence, or members that left, while a room waits for slow members. After one more it waits no longer."""


NONE: list[BreakPass] = []
"""The breaks of an outbox that has none: never changed, so that an idle room needs no list of its own."""


class Outbox:
    """The deliveries and notices that a room owes its members, in order. The head of `pending` may be half delivered.

    `settled`: offsets by the id of a member. Though the member is among the targets of a waiting delivery, it is owed no message up to that
    offset. `presence`: watchers and changes, once a member has watched the room. `waiting`: the number of messages that not every member
    was given yet. `breaks`: those among `pending`. `held`: the head of `pending`, while it waits for members that have no room for it.
    """

    __slots__ = ("breaks", "held", "name", "pending", "presence", "settled", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pending: list[Item] = []
        self.settled: dict[str, int] = {}
        self.presence: PresenceChanges | None = None
        self.waiting = 0
        self.breaks: list[BreakPass] = NONE
        self.held: Item | None = None

    @property
    def overdue(self) -> bool:
        """Whether the room has too many pending changes to keep waiting for slow members."""
        return len(self.settled) > MAX_CHANGES_WHILE_HELD or (self.presence is not None and len(self.presence) > MAX_CHANGES_WHILE_HELD)

    def settle(self, key: str, offset: int) -> None:
        """Note that a member is owed no message up to `offset`, and no break."""
        self.settled[key] = offset
        for one in self.breaks:
            one.forget(key)

    def forget_settled(self) -> None:
        """Drop the entries of `settled` that no waiting delivery needs, so that a room that is never at rest does not gather them."""
        oldest = next((item.offset for item in self.pending if item.offset is not None), None)
        self.settled = {key: offset for key, offset in self.settled.items() if oldest is not None and offset >= oldest}

    def catch_up(self, member: Member) -> None:
        """Deliver the waiting messages to this one member at once. Errors of its `deliver` come through."""
        for item in self.pending:  # not a copy, because messages that the member publishes meanwhile are owed to it too
            item.catch_up(self, member)


class Item(Protocol):
    """An entry of an outbox: messages on their way, or a pass that tells members something."""

    @property
    def offset(self) -> int | None:
        """That of its first message; None if it has none."""

    @property
    def left(self) -> int:
        """The number of members that it has not reached yet."""

    def run(self, outbox: Outbox, budget: int | None, failed: Failed, bulk: Bulk | None = None) -> int:
        """Serve the next `budget` members, or all, and return the cost."""

    def catch_up(self, outbox: Outbox, member: Member) -> None:
        """Serve this one member now, if it is owed anything. Errors of the member come through."""

    def halt(self) -> None:
        """Serve no other member. A run around this call ends."""

    def finish(self, outbox: Outbox, budget: Budget) -> None:
        """End it: every member was served, or none is to be served any more."""
