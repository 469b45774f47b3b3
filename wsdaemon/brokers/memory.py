"""The broker that lives in this process's memory: rooms, members and patterns, with nothing to start and nothing to wait for.

Not thread-safe: call it from one thread, the loop's. Times come from an injected clock; whoever owns the broker calls `sweep` now and then.

How the order holds. A publish gives the message its offset, puts it into history and into its room's outbox, together with the members of
that moment; the fan delivers each outbox strictly from its head. A member that joins is not among the members of what waits, so it is
given exactly the later offsets, and recovers the earlier ones from history. A member that leaves while something waits is settled up to
the room's offset: the fan passes it over until then, even if it has joined again since.
"""

from __future__ import annotations

import heapq
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice

from . import Limits, contract
from .contract import Change, HistoryPage, Member, Message, Position, Presence, PresencePage, Published, Subscribed
from .history import RecentKeys
from .outbox import Delivery, Fan
from .patterns import PatternIndex, check_known, check_pattern, check_room, matches
from .presence import NoticePass, PresenceChanges
from .room import Holder, Room

PATTERNS_KEPT = 64
"""A room keeps the list of whom it serves, unless more of them than this, and than its own members, come from patterns."""


class MemoryBroker:
    """A `contract.Broker` whose answers are all values, never awaitables. What its methods do, take and raise is written there.

    `failed` is told of a member whose `deliver` raised. `wake` asks for calls of `fan.step`, `later` for one call
    after some seconds (without it a room tells of its presence as often as it changes), `bulk` takes the place of single calls of
    `deliver`, `held` says who has no room for more; see `Fan`. `clock` is monotonic, in seconds, `wall` in seconds since 1970. `new_epoch`
    names a room's life: 64 random bits by default.
    """

    def __init__(
        self, limits: Limits, failed: contract.Failed, *, wake: Callable[[], None] | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None, bulk: contract.Bulk | None = None,
        held: contract.Held | None = None, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:  # fmt: skip
        self.limits = limits
        self.fan = Fan(self._fail, clock, wake, bulk, held)
        self._report = failed
        self._later = later
        self._clock = clock
        self._wall = wall
        self._new_epoch = new_epoch
        self._rooms: dict[str, Room] = {}
        self._blank: OrderedDict[str, Room] = OrderedDict()  # without members and never published to, least recently used first
        self._idle: OrderedDict[str, Room] = OrderedDict()  # without members, but with a past
        self._aging: OrderedDict[Room, float] = OrderedDict()  # histories with an age, by when to look at them again
        self._holders: dict[str, Holder] = {}
        self._patterns: PatternIndex[Member] = PatternIndex()
        self._closed = False

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """Members that have a room or a pattern, each once."""
        return len(self._holders)

    def subscribe(self, room: str, member: Member, since: Position | None = None, *, presence: bool = False) -> Subscribed:
        now = self._open()
        holder = self._holder(member)
        state = self._rooms.get(room)
        if state is not None and member.id in state.members:
            raise contract.AlreadySubscribed("this member is in this room already")
        if len(holder.rooms) >= self.limits.max_subscriptions:
            raise contract.TooManySubscriptions(f"a member may be in {self.limits.max_subscriptions} rooms")
        if state is not None and state.pending and holder.hears(room):
            self._catch_up(state, holder)
        if state is not None and len(state.members) >= self.limits.max_members:
            raise contract.RoomFull(f"the room has {self.limits.max_members} members")
        state = state or self._create(room, now)
        self._holders[member.id] = holder
        holder.rooms[state] = None
        state.members[member.id] = member
        state.targets = None
        self._rest(state, now)
        answer = state.answer(since, now, self._present(state, None) if presence else None)
        if presence:
            if state.presence is None:
                state.presence = PresenceChanges(self._clock)
            state.presence.watch(member)
        self._note(state, Change("joined", holder.presence))
        return answer

    def subscribe_pattern(self, pattern: str, member: Member, since: Mapping[str, Position] | None = None) -> contract.PatternSubscribed:
        now = self._open()
        check_pattern(pattern)
        known = dict(since or {})
        check_known(pattern, known)
        holder = self._holder(member)
        if pattern in holder.patterns:
            raise contract.AlreadySubscribed("this member has this pattern already")
        if len(holder.patterns) >= self.limits.max_patterns:
            raise contract.TooManyPatterns(f"a member may have {self.limits.max_patterns} patterns")
        for name in known:
            state = self._rooms.get(name)
            if state is not None and state.pending and (member.id in state.members or holder.hears(name)):
                self._catch_up(state, holder)
        self._holders[member.id] = holder
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
        for room in left:  # last, for those who are told may call the broker
            self._note(room, Change("left", holder.presence))

    def publish(
        self, room: str, payload: bytes, text: bool, *,
        publisher: str | None = None, key: str | None = None, content_type: str | None = None, echo: bool = True,
    ) -> Published:  # fmt: skip
        now = self._open()
        state = self._rooms.get(room)
        if key is not None:
            if not 0 < len(key) <= contract.MAX_KEY:
                raise contract.BadKey(f"an idempotency key is text of 1 to {contract.MAX_KEY} characters")
            if state is not None and state.keys is not None and (first := state.keys.find(key, now)) is not None:
                return Published(state.epoch, first, True, 0)
        state = state or self._create(room, now)
        if state.waiting >= self.limits.max_pending:
            raise contract.Busy("earlier publications in this room are still being delivered")
        if state.bucket is not None:
            state.bucket.take(now)
        state.offset += 1
        message = Message(room, state.epoch, state.offset, payload, text, self._wall(), publisher, content_type)
        self._remember(state, message, key, now)
        targets = self._targets(state)
        count = len(targets)
        skip = None if echo or publisher is None else self._holders.get(publisher)
        answer = Published(state.epoch, state.offset, False, count - (skip is not None and self._serves(state, skip)))
        if answer.members:
            self.fan.submit(state, Delivery(message, targets, None if skip is None else skip.member), count <= self.limits.inline)
        return answer

    def history(self, room: str, since: Position | None = None, limit: int = 100, reverse: bool = False) -> HistoryPage:
        now = self._open()
        contract.check_limit(limit)
        state = self._rooms.get(room)
        if state is None:
            return HistoryPage(room, "", 0, 1, gap=since is not None)
        state.history.trim(now)
        strange = since is not None and not (since.epoch == state.epoch and 0 <= since.offset <= state.offset)
        messages, gap = state.history.page(None if since is None or strange else since.offset, limit, reverse, state.offset)
        return HistoryPage(room, state.epoch, state.offset, state.history.first(state.offset), messages, gap or strange)

    def presence(self, room: str, limit: int | None = None) -> PresencePage:
        self._open()
        state = self._rooms.get(room)
        return PresencePage(0, ()) if state is None else PresencePage(len(state.members), self._present(state, limit))

    def rooms(self, after: str = "", limit: int = 100, pattern: str | None = None) -> contract.RoomPage:
        """Looks at every name: about a tenth of a microsecond for each room that there is."""
        now = self._open()
        contract.check_limit(limit)
        if pattern is not None:
            check_pattern(pattern)
        names = (name for name in self._rooms if name > after and (pattern is None or matches(pattern, name)))
        page = heapq.nsmallest(limit + 1, names)
        infos = []
        for state in map(self._rooms.__getitem__, page[:limit]):
            state.history.trim(now)
            infos.append(contract.RoomInfo(state.name, state.epoch, state.offset, len(state.members), len(state.history)))
        return contract.RoomPage(tuple(infos), page[limit - 1] if len(page) > limit else None)

    def close(self) -> None:
        """To deliver first what waits, call `fan.step` until it answers False."""
        self._closed = True
        self.fan.stop()
        for room in list(self._rooms.values()):
            self._forget(room)
        self._holders.clear()
        self._patterns = PatternIndex()

    def sweep(self, limit: int = 1000) -> int:
        """Forget empty rooms whose time is over, and free what is too old in histories: up to `limit` rooms. How many it looked at.

        Call it every few seconds, and again soon if it answers `limit`. What is too old is never given out, whether it was swept or not;
        with regular calls a message is freed after at most twice its age.
        """
        now, seen = self._clock(), 0
        for rooms, keep in ((self._blank, self.limits.room_idle), (self._idle, self.limits.keep)):
            while rooms and seen < limit:
                room = next(iter(rooms.values()))
                if now - room.touched < keep:
                    break
                seen += 1
                if room.pending:
                    self._rest(room, now)
                else:
                    self._forget(room)
        while self._aging and seen < limit:
            room, due = next(iter(self._aging.items()))
            if due > now:
                break
            seen += 1
            del self._aging[room]
            room.history.trim(now)
            self._watch_age(room, now)
        return seen

    def _open(self) -> float:
        """The time now, if the broker is open."""
        if self._closed:
            raise contract.BrokerClosed("the broker is closed")
        return self._clock()

    def _holder(self, member: Member) -> Holder:
        holder = self._holders.get(member.id)
        if holder is None:
            return Holder(member)
        if holder.member is not member:
            raise contract.DuplicateMember("another member has this id")
        return holder

    def _drop_holder(self, holder: Holder) -> None:
        if not holder.rooms and not holder.patterns:
            self._holders.pop(holder.member.id, None)

    def _catch_up(self, room: Room, holder: Holder) -> None:
        """Before a member gets an answer with an offset, deliver what another of its subscriptions still owes it up to there."""
        room.catch_up(holder.member)
        if self._holders.get(holder.member.id) is not holder:
            raise contract.NotSubscribed("the member was removed while it was given what waited for it")

    def _create(self, name: str, now: float) -> Room:
        check_room(name, self.limits)
        if len(self._rooms) >= self.limits.max_rooms:
            self._evict()
        room = self._rooms[name] = self._blank[name] = Room(name, self._new_epoch(), self.limits, now)
        return room

    def _evict(self) -> None:
        for rooms in (self._blank, self._idle):
            for room in rooms.values():
                if not room.pending:
                    self._forget(room)
                    return
        raise contract.TooManyRooms(f"there are {self.limits.max_rooms} rooms, and none that could go")

    def _forget(self, room: Room) -> None:
        del self._rooms[room.name]
        self._blank.pop(room.name, None)
        self._idle.pop(room.name, None)
        self._aging.pop(room, None)

    def _rest(self, room: Room, now: float) -> None:
        """The room was used: it is now the last to be evicted, or not to be evicted at all."""
        room.touched = now
        self._blank.pop(room.name, None)
        self._idle.pop(room.name, None)
        if not room.members:
            (self._idle if room.offset else self._blank)[room.name] = room

    def _watch_age(self, room: Room, now: float) -> None:
        if self.limits.history_age is not None and room.history and room not in self._aging:
            self._aging[room] = now + self.limits.history_age

    def _remember(self, room: Room, message: Message, key: str | None, now: float) -> None:
        room.history.append(message, now)
        self._watch_age(room, now)
        if self.limits.latest:
            room.last = message
        if key is not None:
            if room.keys is None:
                room.keys = RecentKeys(self.limits.max_keys, self.limits.key_age)
            room.keys.add(key, message.offset, now)
        if not room.members:
            self._rest(room, now)

    def _targets(self, room: Room) -> tuple[Member, ...]:
        """Everyone who is to be given what is published in the room now. The same object until something changes."""
        if room.targets is not None and room.targets_version == self._patterns.version:
            return room.targets
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
        """Without telling others: `_note` does that when all is in order."""
        key = holder.member.id
        del holder.rooms[room]
        del room.members[key]
        room.targets = None
        if room.presence is not None:
            room.presence.unwatch(key)
        if room.pending and not holder.hears(room.name):
            room.settled[key] = room.offset
            self._not_for_ever(room)
        if not room.members:
            self._rest(room, now)

    def _leave_pattern(self, pattern: str, holder: Holder) -> None:
        holder.patterns.discard(pattern)
        self._patterns.remove(pattern, holder.member.id)
        for room in self.fan.active:
            if isinstance(room, Room) and matches(pattern, room.name) and not self._serves(room, holder):
                room.settled[holder.member.id] = room.offset
                self._not_for_ever(room)

    def _not_for_ever(self, room: Room) -> None:
        """A room that is held gathers what happens meanwhile, and that has a bound."""
        if room.held is not None and room.overdue:
            self.fan.go_on(room, room.held)

    def _note(self, room: Room, change: Change) -> None:
        """Tell those who watch this room, after what waits there and, where the fan can be woken, not inside this call."""
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
        """Put a pass over the watchers into the room's outbox, unless one waits there."""
        presence.timed = False
        if len(presence) and presence.queued is None and not self._closed:
            presence.queued = NoticePass(presence)
            self.fan.submit(room, presence.queued, False)

    def _present(self, room: Room, limit: int | None) -> tuple[Presence, ...]:
        return tuple([self._holders[key].presence for key in islice(room.members, limit)])

    def _fail(self, member: Member, error: Exception) -> None:
        self.remove(member)
        self._report(member, error)
