"""The broker in the memory of this process: rooms, members and patterns. It needs no start, and its answers need no wait.

Not thread-safe: call it from the loop's thread alone. Times come from an injected clock. The owner calls `sweep` every few seconds.

How the order holds. A publication gives the message its offset and puts it into the history and into the room's outbox, together with the
members of that moment. The fan delivers each outbox strictly from its head. A member that joins is not among the members of the messages
that wait, so it is given exactly the later offsets, and recovers the earlier ones from the history. A member that leaves while messages
wait is settled up to the room's offset: the fan passes it over up to there, even if it has joined again since.
"""

from __future__ import annotations

import heapq
import secrets
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice

from ..core.absence import no_grace
from . import Limits, contract
from .account import Account, share
from .budget import MEMBER_BYTES, MESSAGE_BYTES, PATTERN_BYTES, SUBSCRIPTION_BYTES, TOKEN_BYTES, WAITING_BYTES, Budget
from .contract import Change, HistoryPage, Member, Message, Position, Presence, PresencePage, Published, Subscribed
from .outbox import Fan
from .patterns import PatternIndex, check_known, check_pattern, matches
from .presence import NoticePass, PresenceChanges
from .room import Holder, Room
from .table import RoomTable

PATTERNS_KEPT = 64
"""A room keeps the list of members it serves, unless more of them than this, and than its own members, come from patterns."""

CLOSED = "the broker is closed"


def pattern_cost(pattern: str) -> int:
    """Bytes that one subscription to the pattern counts for."""
    return PATTERN_BYTES + len(pattern) * (1 if pattern.isascii() else 4) + TOKEN_BYTES * (pattern.count(".") + 1)


class MemoryBroker:
    """A `contract.Broker`, which documents its methods. Its answers are all values, never awaitables.

    `failed` is called with a member whose `deliver` raised. `wake`, `loop`, `bulk` and `held` are those of `Fan`. `later` asks for one call
    after some seconds; without it a room tells its presence as often as it changes. `clock` is monotonic, in seconds, and `wall` in seconds
    since 1970. `new_epoch` names a room's life, with 64 random bits by default. `grace` is that of TokenBucket.
    """

    def __init__(
        self, limits: Limits, failed: contract.Failed, *, wake: Callable[[], None] | None = None,
        loop: Callable[[], AbstractEventLoop] | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None, bulk: contract.Bulk | None = None,
        held: contract.Held | None = None, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8), grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.budget = Budget(limits.memory)
        self.fan = Fan(self._fail, clock, wake, self.budget, loop, bulk, held)
        self._report = failed
        self._later = later
        self._clock = clock
        self._wall = wall
        self._grace = grace
        self._rooms = RoomTable(limits, self.budget, new_epoch)
        self._holders: dict[str, Holder] = {}
        self._patterns: PatternIndex[Member] = PatternIndex()
        self._closed = False

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """The number of members that have a room or a pattern."""
        return len(self._holders)

    def account(self, owner: str) -> Account:
        return self.budget.account(owner)

    @contextmanager
    def waiting(self, size: int, account: Account | None) -> Iterator[None]:
        """Count a publication of `size` bytes that waits until the room can take more. MemoryFull if there is no memory for that."""
        payer, cost = account or self.budget.house, WAITING_BYTES + size
        self._rooms.afford(payer, cost, None)
        self.budget.take(payer, cost)
        try:
            yield
        finally:
            self.budget.give_back(payer, cost)

    def subscribe(
        self, room: str, member: Member, since: Position | None = None, *, presence: bool = False, account: Account | None = None
    ) -> Subscribed:
        now = self._open()
        holder = self._holder(member, account)
        state = self._rooms.get(room)
        if state is not None and member.id in state.members:
            raise contract.AlreadySubscribed("this member is in this room already")
        if len(holder.rooms) >= self.limits.max_subscriptions:
            raise contract.TooManySubscriptions(f"a member may be in {self.limits.max_subscriptions} rooms")
        if state is not None and state.pending and holder.hears(room):
            self._catch_up(state, holder)
        if state is not None and len(state.members) >= self.limits.max_members:
            raise contract.RoomFull(f"the room has {self.limits.max_members} members")
        state = self._rooms.ready(room, state, SUBSCRIPTION_BYTES + self._cost_of(holder), holder.account, now)
        self._keep_holder(holder)
        self.budget.take(holder.account, SUBSCRIPTION_BYTES)
        holder.rooms[state] = None
        state.members[member.id] = member
        state.targets = None
        self._rooms.used(state, now)
        answer = state.answer(since, now, self._present(state, None) if presence else None)
        if presence:
            if state.presence is None:
                state.presence = PresenceChanges(self._clock)
            state.presence.watch(member)
        self._note(state, Change("joined", holder.presence))
        return answer

    def subscribe_pattern(
        self, pattern: str, member: Member, since: Mapping[str, Position] | None = None, *, account: Account | None = None
    ) -> contract.PatternSubscribed:
        now = self._open()
        check_pattern(pattern)
        known = dict(since or {})
        check_known(pattern, known)
        holder = self._holder(member, account)
        if pattern in holder.patterns:
            raise contract.AlreadySubscribed("this member has this pattern already")
        if len(holder.patterns) >= self.limits.max_patterns:
            raise contract.TooManyPatterns(f"a member may have {self.limits.max_patterns} patterns")
        self._check_patterns(holder.account)
        cost = pattern_cost(pattern)
        self._rooms.afford(holder.account, cost + self._cost_of(holder), None)
        for name in known:
            state = self._rooms.get(name)
            if state is not None and state.pending and (member.id in state.members or holder.hears(name)):
                self._catch_up(state, holder)
        self._keep_holder(holder)
        self.budget.take(holder.account, cost)
        holder.account.patterns += 1
        holder.patterns.add(pattern)
        self._patterns.add(pattern, member.id, member)
        found = [(name, self._rooms.get(name)) for name in known]
        answers = [state.answer(known[name], now) if state else Subscribed(name, "", 0, gap=True) for name, state in found]
        return contract.PatternSubscribed(pattern, tuple(answers))

    def unsubscribe(self, room: str, member: Member) -> None:
        now = self._open()
        state = self._rooms.get(room)
        if state is None or state.members.get(member.id) is not member:
            raise contract.NotSubscribed("this member is not in this room")
        holder = self._holders[member.id]
        self._leave(state, holder, now)
        self._drop_holder(holder)
        self._note(state, Change("left", holder.presence))

    def unsubscribe_pattern(self, pattern: str, member: Member) -> None:
        self._open()
        holder = self._holders.get(member.id)
        if holder is None or holder.member is not member or pattern not in holder.patterns:
            raise contract.NotSubscribed("this member does not have this pattern")
        self._leave_pattern(pattern, holder)
        self._drop_holder(holder)

    def remove(self, member: Member) -> None:
        holder = self._holders.get(member.id)
        if holder is None or holder.member is not member:
            return
        now = self._clock()
        for pattern in list(holder.patterns):
            self._leave_pattern(pattern, holder)
        left = list(holder.rooms)
        for room in left:
            self._leave(room, holder, now)
        self._drop_holder(holder)
        for room in left:  # last, because a watcher that is told may call the broker
            self._note(room, Change("left", holder.presence))

    def publish(
        self, room: str, payload: bytes, text: bool, *,
        publisher: str | None = None, key: str | None = None, content_type: str | None = None, echo: bool = True,
        account: Account | None = None,
    ) -> Published:  # fmt: skip
        if self._closed:
            raise contract.BrokerClosed(CLOSED)
        now, rooms = self._clock(), self._rooms
        state = rooms.get(room)
        if key is not None:
            if not 0 < len(key) <= contract.MAX_KEY:
                raise contract.BadKey(f"an idempotency key is text of 1 to {contract.MAX_KEY} characters")
            if state is not None and state.keys and (first := rooms.keys.find(state.keys, key, now)) is not None:
                return Published(state.epoch, first, True, 0)
        size, budget = len(payload) + MESSAGE_BYTES, self.budget
        payer = budget.house if account is None else account
        if state is None or budget.used + size > budget.limit or payer.bytes + size > payer.most:
            state = rooms.ready(room, state, size, payer, now)
        if state.waiting >= self.limits.max_pending:
            raise contract.Busy("earlier publications in this room are still being delivered")
        if state.bucket is not None:
            wait = state.bucket.take(now, self._grace())
            if wait:
                raise contract.RateLimited(f"the room takes {self.limits.rate:g} publications a second", wait)
        state.offset += 1
        message = Message(room, state.epoch, state.offset, payload, text, self._wall(), publisher, content_type, account)
        if rooms.keeps_messages or key is not None or not state.members:
            rooms.remember(state, message, key, now)
        targets = state.targets
        if targets is None or state.targets_version != self._patterns.version:
            targets = self._targets(state)
        count = given = len(targets)
        skip = None
        if not echo and publisher is not None and (holder := self._holders.get(publisher)) is not None:
            skip = holder.member
            given -= state in holder.rooms or holder.hears(room)
        if given:
            self.fan.submit(state, message, targets, skip, count <= self.limits.inline)
        return Published(state.epoch, message.offset, False, given)

    def history(self, room: str, since: Position | None = None, limit: int = 100, reverse: bool = False) -> HistoryPage:
        now = self._open()
        contract.check_limit(limit)
        state = self._rooms.get(room)
        if state is None:
            return HistoryPage(room, "", 0, 1, gap=since is not None)
        state.history.trim(now)
        strange = since is not None and not (since.epoch == state.epoch and 0 <= since.offset <= state.offset)
        messages, gap = state.history.page(None if since is None or strange else since.offset, limit, reverse, state.offset)
        gap = gap or strange
        return HistoryPage(
            room, state.epoch, state.offset, state.history.first(state.offset), messages, gap, state.last if gap else None
        )  # fmt: skip

    def presence(self, room: str, limit: int | None = None) -> PresencePage:
        self._open()
        state = self._rooms.get(room)
        return PresencePage(0, ()) if state is None else PresencePage(len(state.members), self._present(state, limit))

    def rooms(self, after: str = "", limit: int = 100, pattern: str | None = None) -> contract.RoomPage:
        """As in `contract`. Looks at every name, at about a tenth of a microsecond each."""
        now = self._open()
        contract.check_limit(limit)
        if pattern is not None:
            check_pattern(pattern)
        names = (name for name in self._rooms if name > after and (pattern is None or matches(pattern, name)))
        page = heapq.nsmallest(limit + 1, names)
        infos = []
        for state in [self._rooms[name] for name in page[:limit]]:
            state.history.trim(now)
            infos.append(contract.RoomInfo(state.name, state.epoch, state.offset, len(state.members), len(state.history)))
        return contract.RoomPage(tuple(infos), page[limit - 1] if len(page) > limit else None)

    def close(self) -> None:
        """As in `contract`. To deliver the waiting messages first, call `fan.step` until it returns False."""
        self._closed = True
        self.fan.stop()
        self._rooms.clear()
        for holder in self._holders.values():
            self.budget.give_back(holder.account, MEMBER_BYTES + len(holder.rooms) * SUBSCRIPTION_BYTES)
            for pattern in holder.patterns:
                self.budget.give_back(holder.account, pattern_cost(pattern))
            holder.account.patterns -= len(holder.patterns)
        self._holders.clear()
        self._patterns = PatternIndex()

    def sweep(self, limit: int = 1000) -> int:
        """Forget empty rooms whose time is over, and messages that are too old: up to about `limit` rooms. Returns their number.

        Call it every few seconds, and again soon if it returns `limit` or more. A message that is too old is never given out, swept or
        not. With regular calls it is freed after at most twice its age.
        """
        return self._rooms.sweep(self._clock(), limit)

    def _open(self) -> float:
        """The time now. Raises BrokerClosed if the broker is closed."""
        if self._closed:
            raise contract.BrokerClosed(CLOSED)
        return self._clock()

    def _holder(self, member: Member, account: Account | None) -> Holder:
        holder = self._holders.get(member.id)
        if holder is None:
            return Holder(member, account or self.budget.house)
        if holder.member is not member:
            raise contract.DuplicateMember("another member has this id")
        return holder

    def _cost_of(self, holder: Holder) -> int:
        """The bytes of the member itself; 0 if they are counted already."""
        return 0 if holder.member.id in self._holders else MEMBER_BYTES

    def _keep_holder(self, holder: Holder) -> None:
        self.budget.take(holder.account, self._cost_of(holder))
        self._holders[holder.member.id] = holder

    def _drop_holder(self, holder: Holder) -> None:
        if not holder.rooms and not holder.patterns and self._holders.pop(holder.member.id, None) is not None:
            self.budget.give_back(holder.account, MEMBER_BYTES)

    def _catch_up(self, room: Room, holder: Holder) -> None:
        """Deliver the messages that another subscription still owes a member, before it gets an answer with a later offset."""
        room.catch_up(holder.member)
        if self._holders.get(holder.member.id) is not holder:
            raise contract.NotSubscribed("the member was removed while it was given what waited for it")

    def _check_patterns(self, account: Account) -> None:
        """Raise TooManyPatterns unless the account may have one more."""
        if account is not self.budget.house and account.patterns >= share(self.limits.max_all_patterns):
            raise contract.TooManyPatterns(f"this address or user has {account.patterns} patterns, an eighth of all that there may be")
        if len(self._patterns) >= self.limits.max_all_patterns:
            raise contract.TooManyPatterns(f"there are {self.limits.max_all_patterns} patterns, and there may be no more")

    def _targets(self, room: Room) -> tuple[Member, ...]:
        """The members that are given a message published in the room now, kept in `room.targets` until something changes."""
        found = self._patterns.match(room.name) if self._patterns else {}
        extra = [member for key, member in found.items() if key not in room.members]
        targets = (*room.members.values(), *extra)
        if len(extra) <= max(PATTERNS_KEPT, len(room.members)):
            room.targets = targets
            room.targets_version = self._patterns.version
        return targets

    def _serves(self, room: Room, holder: Holder) -> bool:
        return room in holder.rooms or holder.hears(room.name)

    def _leave(self, room: Room, holder: Holder, now: float) -> None:
        """Take a member out of a room. `_note` tells the others afterwards."""
        key = holder.member.id
        self.budget.give_back(holder.account, SUBSCRIPTION_BYTES)
        del holder.rooms[room]
        del room.members[key]
        room.targets = None
        if room.presence is not None:
            room.presence.unwatch(key)
        if room.pending and not holder.hears(room.name):
            room.settled[key] = room.offset
            self._not_for_ever(room)
        if not room.members:
            self._rooms.used(room, now)

    def _leave_pattern(self, pattern: str, holder: Holder) -> None:
        holder.patterns.discard(pattern)
        holder.account.patterns -= 1
        self.budget.give_back(holder.account, pattern_cost(pattern))
        self._patterns.remove(pattern, holder.member.id)
        for room in self.fan.active:
            if isinstance(room, Room) and matches(pattern, room.name) and not self._serves(room, holder):
                room.settled[holder.member.id] = room.offset
                self._not_for_ever(room)

    def _not_for_ever(self, room: Room) -> None:
        """Let a held room go on if it has gathered too many changes meanwhile."""
        if room.held is not None and room.overdue:
            self.fan.go_on(room, room.held)

    def _note(self, room: Room, change: Change) -> None:
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

    def _tell(self, room: Room, presence: PresenceChanges) -> None:
        """Put a pass over the watchers into the room's outbox, unless a pass waits there."""
        presence.timed = False
        if len(presence) and presence.queued is None and not self._closed:
            presence.queued = NoticePass(presence)
            self.fan.submit_notices(room, presence.queued)

    def _present(self, room: Room, limit: int | None) -> tuple[Presence, ...]:
        return tuple([self._holders[key].presence for key in islice(room.members, limit)])

    def _fail(self, member: Member, error: Exception) -> None:
        self.remove(member)
        self._report(member, error)
