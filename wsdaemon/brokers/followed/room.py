"""A room whose order is kept elsewhere, as this process follows it: its position, early messages, and its roster."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Callable, Collection, Sequence

from ..contract import Change, Message, Position, Presence
from ..links.contract import Roster
from ..local.rooms import LocalRoom
from ..waiters import Waiters

MAX_EARLY = 1000
"""Messages of one room that wait for an earlier one, or for the room's position; and messages kept for members that are joining."""

MAX_EARLY_BYTES = 1 << 20
"""Their payload."""

ROSTER_BYTES = 500
"""A member in a roster."""

MAX_EARLY_CHANGES = 1000
"""Changes of one room's roster that wait for the roster."""


class FollowedRoom(LocalRoom):
    """A room that this process follows, by name or by a pattern.

    `known`: its position is known, which is `epoch` and, as in LocalRoom, `offset`: the outbox was given all messages up to there. An epoch
    of "" is a room that does not exist. `joins`: members that are joining now. `roster`: all members over all processes, by id, if this
    process watches it; `roster_position` is its place among the changes. `behind`: the outbox is so full that live messages are not taken;
    `holding`: publishers wait because of that. `repair`: the work that asks for missing messages, if any; `repair_due`: it begins soon.
    `watched`: the link reports changes of the roster.
    """

    __slots__ = (
        "_early", "_early_bytes", "_recent", "_recent_bytes", "_waiters", "behind", "counted", "early_changes", "epoch", "holding",
        "joins", "known", "latest", "repair", "repair_due", "roster", "roster_asked", "roster_asked_again", "roster_position",
        "watched",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.epoch = ""
        self.known = False
        self.joins = 0
        self.latest: Message | None = None
        self.behind = self.holding = self.watched = False
        self.repair: Task[None] | None = None
        self.repair_due = False
        self.roster: dict[str, Presence] | None = None
        self.roster_position = Position("", 0)
        self.roster_asked = self.roster_asked_again = False
        self.counted = 0
        """The bytes of the roster that the budget counts."""
        self.early_changes: list[tuple[Position, Sequence[Change]]] = []
        self._early: dict[tuple[str, int], Message] = {}
        self._early_bytes = 0
        self._recent: list[Message] = []
        self._recent_bytes = 0
        self._waiters = Waiters()

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    @property
    def at_rest(self) -> bool:
        """Whether the members are told all that the order has told this process, and nothing is known to be missing."""
        roster_is_known = not self.watched or (self.roster is not None and not self.roster_asked and not self.early_changes)
        return self.known and not self.behind and not self._early and self.repair is None and roster_is_known

    # -- early messages

    @property
    def has_early(self) -> bool:
        """Whether messages wait for an earlier one."""
        return bool(self._early)

    def keep_early(self, message: Message) -> None:
        """Keep a message that cannot be delivered yet. If there are too many, it is dropped; a repair then asks for it."""
        size = len(message.payload)
        key = message.epoch, message.offset
        if key not in self._early and len(self._early) < MAX_EARLY and self._early_bytes + size <= MAX_EARLY_BYTES:
            self._early[key] = message
            self._early_bytes += size

    def next_early(self) -> Message | None:
        """The next message in order, taken out of the early ones."""
        message = self._early.pop((self.epoch, self.offset + 1), None) if self._early else None
        if message is not None:
            self._early_bytes -= len(message.payload)
        return message

    def early_keys(self) -> set[tuple[str, int]]:
        """The epochs and offsets of the early messages."""
        return set(self._early)

    def forget_early(self, strange: Collection[tuple[str, int]] = ()) -> None:
        """Drop the early messages up to the position, and those among `strange` that are of another epoch."""
        self._early = {
            key: message
            for key, message in self._early.items()
            if (message.offset > self.offset if message.epoch == self.epoch else key not in strange)
        }
        self._early_bytes = sum(len(message.payload) for message in self._early.values())

    # -- members that are joining

    def advance(self, message: Message) -> None:
        """Note that the outbox is given this message, the next in order."""
        self.offset = message.offset
        if self.joins:
            self._recent.append(message)
            self._recent_bytes += len(message.payload)
            while len(self._recent) > MAX_EARLY or self._recent_bytes > MAX_EARLY_BYTES:
                self._recent_bytes -= len(self._recent.pop(0).payload)

    def covers(self, position: Position) -> bool:
        """Whether the messages after a position of this epoch, up to the room's, are still here for members that are joining."""
        return position.epoch == self.epoch and self.offset - len(self._recent) <= position.offset <= self.offset

    def recent(self, offset: int) -> tuple[Message, ...]:
        """The messages after `offset`, which `covers` allowed."""
        count = self.offset - offset
        return tuple(self._recent[len(self._recent) - count :]) if count else ()

    def forget_recent(self) -> None:
        """Keep no messages for members that are joining: none is, or the room has begun anew."""
        self._recent.clear()
        self._recent_bytes = 0

    def progress(self, loop: AbstractEventLoop) -> Future[None]:
        """Done when the position changes, or a repair ends."""
        return self._waiters.wait(loop)

    def wake(self, error: Callable[[], Exception] | None = None) -> None:
        """Complete the futures of `progress`, or fail them."""
        if self._waiters:
            self._waiters.wake(error)

    # -- the roster

    def take_roster(self, roster: Roster) -> list[Change]:
        """Replace the roster by a newer one. The changes that lead to it; none for the first roster."""
        former, (epoch, known) = self.roster, self.roster_position
        if former is not None and roster.position.epoch == epoch and roster.position.offset <= known:
            return []
        self.roster = {who.id: who for who in roster.members}
        self.roster_position = roster.position
        changes: list[Change] = []
        if former is not None:
            changes += [Change("left", who) for key, who in former.items() if key not in self.roster]
            changes += [Change("joined", who) for key, who in self.roster.items() if key not in former]
        early, self.early_changes = self.early_changes, []
        for position, some in early:
            changes += self.take_changes(position, some) or []
        return changes

    def take_changes(self, position: Position, changes: Sequence[Change]) -> list[Change] | None:
        """Apply changes of the roster. Those of them that are new; None if others before them are missing, so a new roster is needed."""
        if self.roster is None:
            if len(self.early_changes) < MAX_EARLY_CHANGES:
                self.early_changes.append((position, changes))
            return []
        if position.epoch != self.roster_position.epoch:
            return None
        known = self.roster_position.offset
        if position.offset <= known:
            return []
        if position.offset - len(changes) > known:
            return None
        news: list[Change] = []
        for change in changes[len(changes) - (position.offset - known) :]:
            if (change.who.id in self.roster) is (change.kind == "left"):
                news.append(change)
                if change.kind == "left":
                    del self.roster[change.who.id]
                else:
                    self.roster[change.who.id] = change.who
        self.roster_position = position
        return news


def net_changes(known: tuple[Presence, ...], changes: tuple[Change, ...], now: dict[str, Presence], own: str) -> tuple[Change, ...]:
    """The changes that lead a member to the roster `now`, which has `changes` behind it and then was `known`, and is `now` after others.

    A member that came and left in between is not among them, nor is the member itself, whose id is `own`.
    """
    then = {who.id: who for who in known}
    before = dict(then)
    for change in reversed(changes):
        if change.kind == "joined":
            before.pop(change.who.id, None)
        else:
            before[change.who.id] = change.who
    left = [Change("left", who) for key, who in before.items() if key not in now and key != own]
    return (*left, *[Change("joined", who) for key, who in now.items() if key not in before and key != own])
