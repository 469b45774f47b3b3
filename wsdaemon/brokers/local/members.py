"""The members of this process: their rooms and patterns, and the delivery of messages and notices to them.

A broker has one `LocalMembers` and puts each message into the outbox of its room. Here nothing is known of an order: whether a member may
join, and which messages it missed, is the broker's business.

How the order holds. The broker submits the messages of a room in order, each with the members of that moment, and the fan delivers each
outbox strictly from its head. A member that joins is not among the members of the messages that wait, so it is given exactly the later
offsets, and has the earlier ones in its answer. A member that leaves while messages wait is settled up to the room's offset: the fan passes
it over up to there, even if it has joined again since.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial

from .. import Limits, contract, errors
from ..account import Account, share
from ..budget import MEMBER_BYTES, PATTERN_BYTES, SUBSCRIPTION_BYTES, TOKEN_BYTES, Budget
from ..contract import Change, Member, Presence, Subscribed
from ..patterns import PatternIndex, matches
from .breaks import BreakPass, Told
from .fan import Fan
from .outbox import NONE
from .presence import NoticePass, PresenceChanges
from .rooms import Holder, LocalRoom

PATTERNS_KEPT = 64
"""A room keeps the list of members it serves, unless more of them than this, and than its own members, come from patterns."""


def pattern_cost(pattern: str) -> int:
    """Bytes that one subscription to the pattern counts for."""
    return PATTERN_BYTES + len(pattern) * (1 if pattern.isascii() else 4) + TOKEN_BYTES * (pattern.count(".") + 1)


class LocalMembers:
    """The members, patterns and deliveries of one broker in this process.

    `failed` is called with a member whose `deliver` raised; it removes the member. `wake`, `loop`, `bulk` and `held` are those of `Fan`.
    `later` asks for one call after some seconds; without it a room tells its presence as often as it changes. `clock` is monotonic, in
    seconds. `holders` has the members that have a room or a pattern, by id, and `patterns` the index of their patterns.
    """

    __slots__ = ("_clock", "_closed", "_later", "_limits", "budget", "fan", "holders", "patterns")

    def __init__(
        self, limits: Limits, budget: Budget, failed: contract.Failed, *, wake: Callable[[], None] | None = None,
        loop: Callable[[], AbstractEventLoop] | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None, bulk: contract.Bulk | None = None,
        held: contract.Held | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._limits = limits
        self.budget = budget
        self.fan = Fan(failed, clock, wake, budget, loop, bulk, held)
        self._later = later
        self._clock = clock
        self.holders: dict[str, Holder] = {}
        self.patterns: PatternIndex[Member] = PatternIndex()
        self._closed = False

    def close(self) -> None:
        """Forget all members and deliver no more."""
        self._closed = True
        self.fan.stop()
        for holder in self.holders.values():
            self.budget.give_back(holder.account, MEMBER_BYTES + len(holder.rooms) * SUBSCRIPTION_BYTES)
            for pattern in holder.patterns:
                self.budget.give_back(holder.account, pattern_cost(pattern))
            holder.account.patterns -= len(holder.patterns)
        self.holders.clear()
        self.patterns.clear()

    # -- members

    def holder(self, member: Member, account: Account | None) -> Holder:
        """The member's holder, or a new one, which `keep` keeps. DuplicateMember if another member has its id."""
        holder = self.holders.get(member.id)
        if holder is None:
            return Holder(member, account or self.budget.house)
        if holder.member is not member:
            raise errors.DuplicateMember("another member has this id")
        return holder

    def adopt(self, member: Member, account: Account) -> Holder:
        """As `holder`, for a client whose former session may still be here: the holder is the new session's from now on."""
        holder = self.holders.get(member.id)
        if holder is None:
            return Holder(member, account)
        holder.member = member
        return holder

    def cost_of(self, holder: Holder) -> int:
        """The bytes of the member itself; 0 if they are counted already."""
        return 0 if holder.member.id in self.holders else MEMBER_BYTES

    def keep(self, holder: Holder) -> None:
        """Keep a holder that is about to have its first room or pattern."""
        self.budget.take(holder.account, self.cost_of(holder))
        self.holders[holder.member.id] = holder

    def drop(self, holder: Holder) -> None:
        """Forget a holder if it has no rooms and no patterns."""
        if not holder.rooms and not holder.patterns and self.holders.pop(holder.member.id, None) is not None:
            self.budget.give_back(holder.account, MEMBER_BYTES)

    def inside(self, room: LocalRoom | None, member: Member) -> Holder:
        """The holder of a member of the room. NotSubscribed if it is none."""
        if room is None or room.members.get(member.id) is not member:
            raise errors.NotSubscribed("this member is not in this room")
        return self.holders[member.id]

    def check_subscriptions(self, holder: Holder) -> None:
        """Raise TooManySubscriptions unless the member may have one more room."""
        if len(holder.rooms) >= self._limits.max_subscriptions:
            raise errors.TooManySubscriptions(f"a member may be in {self._limits.max_subscriptions} rooms")

    def enter(self, room: LocalRoom, holder: Holder) -> None:
        """Make a member one of the room's."""
        self.keep(holder)
        if room not in holder.rooms:  # else the member takes the place of its client's former session
            self.budget.take(holder.account, SUBSCRIPTION_BYTES)
            holder.rooms[room] = None
        room.members[holder.member.id] = holder.member
        room.targets = None

    def leave(self, room: LocalRoom, holder: Holder) -> None:
        """Take a member out of a room. `note` tells the others afterwards."""
        key = holder.member.id
        self.budget.give_back(holder.account, SUBSCRIPTION_BYTES)
        del holder.rooms[room]
        del room.members[key]
        room.targets = None
        if room.presence is not None:
            room.presence.unwatch(key)
        if room.pending and not holder.hears(room.name):
            room.settle(key, room.offset)
            self._not_for_ever(room)

    def catch_up(self, room: LocalRoom, holder: Holder) -> None:
        """Deliver the messages that another subscription still owes a member, before it gets an answer with a later offset."""
        room.catch_up(holder.member)
        if self.holders.get(holder.member.id) is not holder:
            raise errors.NotSubscribed("the member was removed while it was given what waited for it")

    # -- patterns

    def check_patterns(self, pattern: str, holder: Holder) -> None:
        """Raise AlreadySubscribed or TooManyPatterns unless the member may have this pattern too."""
        if pattern in holder.patterns:
            raise errors.AlreadySubscribed("this member has this pattern already")
        if len(holder.patterns) >= self._limits.max_patterns:
            raise errors.TooManyPatterns(f"a member may have {self._limits.max_patterns} patterns")
        account = holder.account
        if account is not self.budget.house and account.patterns >= share(self._limits.max_all_patterns):
            raise errors.TooManyPatterns(f"this address or user has {account.patterns} patterns, an eighth of all that there may be")
        if len(self.patterns) >= self._limits.max_all_patterns:
            raise errors.TooManyPatterns(f"there are {self._limits.max_all_patterns} patterns, and there may be no more")

    def enter_pattern(self, pattern: str, holder: Holder) -> None:
        """Give a member a pattern."""
        self.keep(holder)
        self.budget.take(holder.account, pattern_cost(pattern))
        holder.account.patterns += 1
        holder.patterns.add(pattern)
        self.patterns.add(pattern, holder.member.id, holder.member)

    def having(self, pattern: str, member: Member) -> Holder:
        """The holder of a member that has the pattern. NotSubscribed if it does not."""
        holder = self.holders.get(member.id)
        if holder is None or holder.member is not member or pattern not in holder.patterns:
            raise errors.NotSubscribed("this member does not have this pattern")
        return holder

    def leave_pattern(self, pattern: str, holder: Holder) -> None:
        """Take a pattern from a member."""
        holder.patterns.discard(pattern)
        holder.account.patterns -= 1
        self.budget.give_back(holder.account, pattern_cost(pattern))
        self.patterns.remove(pattern, holder.member.id)
        for room in self.fan.active:
            if isinstance(room, LocalRoom) and matches(pattern, room.name) and not self._serves(room, holder):
                room.settle(holder.member.id, room.offset)
                self._not_for_ever(room)

    def _serves(self, room: LocalRoom, holder: Holder) -> bool:
        return room in holder.rooms or holder.hears(room.name)

    # -- messages and notices

    def targets(self, room: LocalRoom) -> tuple[Member, ...]:
        """The members that are given a message published in the room now, kept in `room.targets` until something changes."""
        found = self.patterns.match(room.name) if self.patterns else {}
        extra = [member for key, member in found.items() if key not in room.members]
        targets = (*room.members.values(), *extra)
        if len(extra) <= max(PATTERNS_KEPT, len(room.members)):
            room.targets = targets
            room.targets_version = self.patterns.version
        return targets

    def break_off(self, room: LocalRoom, answer: Subscribed, present: tuple[Presence, ...] | None) -> None:
        """Tell all members that the room serves now of a break, after the messages that wait and before later ones.

        `present` is the room's roster, if the broker knows it; watchers are told it.
        """
        watchers = {} if room.presence is None else room.presence.watchers
        told = [
            Told(member, None if member.id in room.members else self.holders[member.id].heard_by(room.name), member.id in watchers)
            for member in self.targets(room)
        ]
        if not told:
            return
        if room.breaks is NONE:
            room.breaks = []
        made = BreakPass(answer, told, present)
        room.breaks.append(made)
        self.fan.submit_pass(room, made)

    def note(self, room: LocalRoom, change: Change) -> None:
        """Note a change for the watchers of a room. They are told after the waiting messages and, with `wake`, in a later turn."""
        presence = room.presence
        if presence is None or not presence.watchers:
            return
        if presence.queued is not None and room.pending[-1] is not presence.queued:
            presence.queued.freeze()
        presence.note(change)
        self._not_for_ever(room)
        if presence.queued is not None:
            return
        wait = presence.wait
        if wait <= 0 or self._later is None:
            self._tell(room, presence)
        elif not presence.timed:
            presence.timed = True
            self._later(wait, partial(self._tell, room, presence))

    def watch(self, room: LocalRoom, member: Member, noted: bool = False) -> None:
        """Tell a member of the room its changes from now on. `noted` is as in `PresenceChanges.watch`."""
        if room.presence is None:
            room.presence = PresenceChanges(self._clock)
        room.presence.watch(member, noted)

    def tell_changes(self, room: LocalRoom, member: Member) -> bool:
        """Tell one watcher at once all changes that wait for it. False if the member does not watch the room."""
        presence = room.presence
        watch = None if presence is None else presence.watchers.get(member.id)
        if presence is None or watch is None:
            return False
        for item in room.pending:
            if isinstance(item, NoticePass):
                item.tell(room, watch)
        presence.tell(room, watch)
        return True

    def _tell(self, room: LocalRoom, presence: PresenceChanges) -> None:
        """Put a pass over the watchers into the room's outbox, unless a pass waits there."""
        presence.timed = False
        if len(presence) and presence.queued is None and not self._closed:
            presence.queued = NoticePass(presence)
            self.fan.submit_pass(room, presence.queued)

    def _not_for_ever(self, room: LocalRoom) -> None:
        """Let a held room go on if it has gathered too many changes meanwhile."""
        if room.held is not None and room.overdue:
            self.fan.go_on(room, room.held)
