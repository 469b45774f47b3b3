"""The broker that lives in this process's memory: rooms, members and patterns, with nothing to start and nothing to wait for.

Not thread-safe: call it from one thread, the loop's. Times come from an injected clock; whoever owns the broker calls `sweep` now and then.

How the order holds. A publish gives the message its offset, puts it into history and into its room's outbox, together with the members of that
moment; the fan delivers each outbox strictly from its head. A member that joins is not among the members of what waits, so it is given exactly
the later offsets, and recovers the earlier ones from history. A member that leaves while something waits is settled up to the room's offset: the
fan passes it over until then, even if it has joined again since.
"""

from __future__ import annotations

import heapq
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from . import contract
from .contract import Change, Failed, HistoryPage, Member, Message, PatternSubscribed, Position, Presence, PresencePage, Published, Subscribed
from .history import Delivery, Fan, History, NoticePass, Outbox, RateBucket, RecentKeys, Watch
from .patterns import PatternIndex, check_pattern, fits, matches

ROOM_NAME = re.compile(r"[^\x00-\x20\x7f*>]+")
"""Any name without white space and control characters of ASCII, and without wildcards."""

HISTORY_COUNT = 10_000
"""How many messages a history holds at most where only an age is given."""

PATTERNS_KEPT = 64
"""A room keeps the list of whom it serves unless more members than this, and than its own, come from patterns: else `>` would cost in every room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a broker allows. Ages in seconds, sizes in bytes; None is no limit, but for `history`."""

    max_rooms: int = 10_000
    max_members: int = 10_000
    """Of one room."""
    max_subscriptions: int = 1000
    """Rooms of one member."""
    max_patterns: int = 100
    """Of one member."""
    max_name: int = 256
    """Of a room, in bytes of UTF-8."""
    name_pattern: re.Pattern[str] = ROOM_NAME
    """What a room's whole name must match. A name with `*` or `>` is refused in any case."""
    history: int | None = None
    """Messages kept per room. None with an age keeps HISTORY_COUNT of them; None without an age keeps none."""
    history_age: float | None = None
    history_bytes: int = 1 << 20
    """Payload kept per room."""
    latest: bool = False
    """Keep each room's last message for newcomers, whether there is a history or not, and whatever its age."""
    rate: float | None = None
    """Publications per second in one room."""
    burst: int = 1
    """Publications that one room may have at once after a pause, where there is a rate."""
    max_keys: int = 1000
    """Idempotency keys remembered per room."""
    key_age: float = 120.0
    max_pending: int = 64
    """Publications of one room that wait for delivery; beyond that it is busy."""
    inline: int = 100
    """A publication to more members than this is delivered in slices."""
    room_idle: float = 60.0
    """How long an empty room is kept at least, so that a lone member finds its place again."""

    @property
    def history_count(self) -> int:
        """Messages that a room's history holds at most; 0 when none is kept."""
        if self.history is not None:
            return self.history
        return 0 if self.history_age is None else HISTORY_COUNT

    @property
    def keep(self) -> float:
        """How long a room is kept after its last member left or its last message came. Infinite where a history has no age."""
        if self.history_count and self.history_age is None:
            return math.inf
        return max(self.room_idle, self.key_age, self.history_age or 0.0)


class _Room(Outbox):
    """One life of a room. `touched`: when it was last published to, joined or left, kept up to date while it is empty."""

    __slots__ = ("bucket", "epoch", "history", "keys", "last", "members", "offset", "targets", "targets_version", "touched")

    def __init__(self, name: str, epoch: str, limits: Limits, now: float) -> None:
        super().__init__(name)
        self.epoch = epoch
        self.offset = 0
        self.history = History(limits.history_count, limits.history_age, limits.history_bytes)
        self.keys: RecentKeys | None = None
        self.bucket = RateBucket(limits.rate, limits.burst, now) if limits.rate is not None else None
        self.last: Message | None = None
        self.members: dict[str, Member] = {}
        self.targets: tuple[Member, ...] | None = None
        self.targets_version = -1
        self.touched = now

    def missed(self, since: Position | None, now: float) -> tuple[tuple[Message, ...], bool]:
        """What came after `since`, and whether there is a gap."""
        if since is None:
            return (), False
        self.history.trim(now)
        if since.epoch != self.epoch or not self.history.first(self.offset) - 1 <= since.offset <= self.offset:
            return (), True
        return tuple(self.history.between(since.offset + 1, self.offset + 1, self.offset)), False

    def answer(self, since: Position | None, now: float, present: tuple[Presence, ...] | None = None) -> Subscribed:
        messages, gap = self.missed(since, now)
        return Subscribed(self.name, self.epoch, self.offset, messages, gap, self.last if gap or since is None else None, present)


class _Holder:
    """What one member has."""

    __slots__ = ("member", "patterns", "presence", "rooms")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.presence = Presence(member.id, member.identity)
        self.rooms: set[_Room] = set()
        self.patterns: set[str] = set()

    def hears(self, room: str) -> bool:
        """Whether one of its patterns matches."""
        return any(matches(pattern, room) for pattern in self.patterns)


class MemoryBroker:
    """A `contract.Broker` whose answers are all values, never awaitables.

    `failed` is told of a member whose `deliver` raised. `wake` asks for calls of `fan.step`; see `Fan`. `clock` is monotonic, in seconds, `wall` in
    seconds since 1970. `new_epoch` names a room's life: 64 random bits by default.
    """

    def __init__(
        self,
        limits: Limits,
        failed: Failed,
        *,
        wake: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.limits = limits
        self.fan = Fan(self._fail, clock, wake)
        self._report = failed
        self._clock = clock
        self._wall = wall
        self._new_epoch = new_epoch
        self._rooms: dict[str, _Room] = {}
        self._blank: OrderedDict[str, _Room] = OrderedDict()  # without members and never published to, least recently used first
        self._idle: OrderedDict[str, _Room] = OrderedDict()  # without members, but with a past
        self._aging: OrderedDict[_Room, float] = OrderedDict()  # histories with an age, by when to look at them again
        self._holders: dict[str, _Holder] = {}
        self._patterns: PatternIndex[Member] = PatternIndex()
        self._closed = False

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    def subscribe(self, room: str, member: Member, since: Position | None = None, *, presence: bool = False) -> Subscribed:
        """See `contract.Broker`."""
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
        holder.rooms.add(state)
        state.members[member.id] = member
        state.targets = None
        self._rest(state, now)
        answer = state.answer(since, now, self._present(state, None) if presence else None)
        self._note(state, Change("joined", holder.presence))
        if presence:
            state.watchers[member.id] = Watch(member, state.changed)
        return answer

    def subscribe_pattern(self, pattern: str, member: Member, since: Mapping[str, Position] | None = None) -> PatternSubscribed:
        """See `contract.Broker`."""
        now = self._open()
        check_pattern(pattern)
        known = dict(since or {})
        if len(known) > contract.MAX_PAGE:
            raise contract.TooManyRooms(f"a pattern subscription recovers up to {contract.MAX_PAGE} rooms")
        if strange := [name for name in known if not matches(pattern, name)]:
            raise contract.BadRoom(f"the pattern does not match {strange[0]!r}")
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
        answers = []
        for name, position in known.items():
            state = self._rooms.get(name)
            answers.append(Subscribed(name, "", 0, gap=True) if state is None else state.answer(position, now))
        return PatternSubscribed(pattern, tuple(answers))

    def unsubscribe(self, room: str, member: Member) -> None:
        """See `contract.Broker`."""
        now = self._open()
        state = self._rooms.get(room)
        if state is None or state.members.get(member.id) is not member:
            raise contract.NotSubscribed("this member is not in this room")
        holder = self._holders[member.id]
        self._leave(state, holder, now)
        self._drop_holder(holder)
        self._note(state, Change("left", holder.presence))

    def unsubscribe_pattern(self, pattern: str, member: Member) -> None:
        """See `contract.Broker`."""
        self._open()
        holder = self._holders.get(member.id)
        if holder is None or holder.member is not member or pattern not in holder.patterns:
            raise contract.NotSubscribed("this member does not have this pattern")
        self._leave_pattern(pattern, holder)
        self._drop_holder(holder)

    def remove(self, member: Member) -> None:
        """See `contract.Broker`."""
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
        self,
        room: str,
        payload: bytes,
        text: bool,
        *,
        publisher: str | None = None,
        key: str | None = None,
        content_type: str | None = None,
        echo: bool = True,
    ) -> Published:
        """See `contract.Broker`."""
        now = self._open()
        state = self._rooms.get(room)
        if key is not None:
            if not 0 < len(key) <= contract.MAX_KEY:
                raise contract.BadKey(f"an idempotency key is text of 1 to {contract.MAX_KEY} characters")
            if state is not None and state.keys is not None and (first := state.keys.find(key, now)) is not None:
                return Published(state.epoch, first, True, 0)
        if state is None:
            state = self._create(room, now)
        self._admit(state, now)
        state.offset += 1
        message = Message(room, state.epoch, state.offset, payload, text, self._wall(), publisher, content_type)
        self._remember(state, message, key, now)
        targets = self._targets(state)
        skip = None if echo or publisher is None else self._holders.get(publisher)
        if not targets:
            return Published(message.epoch, message.offset, False, 0)
        self.fan.submit(state, Delivery(message, targets, skip and skip.member), len(targets) <= self.limits.inline)
        return Published(message.epoch, message.offset, False, len(targets) - (skip is not None and self._is_target(state, skip)))
