"""The rooms of a broker in memory by name, and the order in which they make way for others."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from . import Limits
from .account import Account, share
from .budget import Budget
from .contract import HistoryPage, Message, Position, RoomInfo, RoomPage, check_limit
from .errors import TooManyRooms
from .keys import KeyTable
from .patterns import check_pattern, check_room, matches
from .room import Room, room_cost

MESSAGES_LIKE_A_ROOM = 50
"""Forgetting so many messages takes as long as forgetting an empty room."""


class RoomTable:
    """The rooms by name. `new_epoch` names the life of a new one. Times are in seconds, on one clock that never goes back."""

    def __init__(self, limits: Limits, budget: Budget, new_epoch: Callable[[], str]) -> None:
        self._limits = limits
        self._budget = budget
        self._new_epoch = new_epoch
        self._rooms: dict[str, Room] = {}
        self._blank: OrderedDict[str, Room] = OrderedDict()  # without members and never published to, least recently used first
        self._idle: OrderedDict[str, Room] = OrderedDict()  # without members, but with a past
        self._aging: OrderedDict[Room, float] = OrderedDict()  # histories with an age, by when to look at them again
        self._remembering: OrderedDict[Room, None] = OrderedDict()  # rooms that keep messages, least recently published to first
        self._above_limits: dict[Room, None] = {}  # rooms whose histories are longer than the limits allow, since these changed
        self.keeps_messages = False
        """Whether a room has a history, or a latest message."""
        self._look_whether_messages_are_kept()
        self.keys = KeyTable(budget, limits.key_age, limits.max_keys, limits.max_all_keys)
        self.get = self._rooms.get
        self.changed: dict[str, None] | None = None
        """While another process is given the rooms: those that were made or forgotten since it was told of them. The table's owner adds
        those that were used."""

    def _look_whether_messages_are_kept(self) -> None:
        self.keeps_messages = self._limits.latest or self._limits.history_count > 0 or bool(self._above_limits)

    def change_limits(self, limits: Limits, now: float) -> None:
        """Have other limits from now on. Rooms stay, and messages above the limits go with the next sweeps."""
        self._limits = limits
        self._above_limits.clear()
        self._aging.clear()
        for room in self._rooms.values():
            if room.history.change_limits(limits.history_count, limits.history_age, limits.history_bytes, now):
                self._above_limits[room] = None
            room.change_rate(limits, now)
            if not limits.latest:
                self._replace_last(room, None)
            self._watch_age(room, now)
        self._look_whether_messages_are_kept()

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rooms)

    def __getitem__(self, name: str) -> Room:
        return self._rooms[name]

    def ready(self, name: str, room: Room | None, size: int, account: Account, now: float) -> Room:
        """The room, created if need be. The budget then has `size` bytes free, which the caller takes next for `account`.

        `room` is the answer of `get`. Errors: BadRoom, TooManyRooms, MemoryFull.
        """
        if room is not None:
            self.afford(account, size, room)
            return room
        check_room(name, self._limits)
        self._make_place(account)
        self.afford(account, size + room_cost(name), None)
        return self.restore(name, self._new_epoch(), account, now)

    def ready_anyway(self, name: str, room: Room | None, account: Account, now: float) -> Room:
        """As `ready`, whatever the limits say: for members that are in the room already."""
        return self.restore(name, self._new_epoch(), account, now) if room is None else room

    def make_place(self, account: Account, size: int, room: Room) -> None:
        """As `ready`, with a room that is there. Call it for each publication."""
        budget = self._budget
        if budget.used + size > budget.limit or account.bytes + size > account.most:
            self.afford(account, size, room)

    def restore(self, name: str, epoch: str, account: Account, now: float) -> Room:
        """Make a room whose life began elsewhere, whatever the limits say. There is none of this name."""
        room = self._rooms[name] = self._blank[name] = Room(name, epoch, self._limits, now, self._budget, account)
        account.idle[name] = room
        account.rooms += 1
        self._budget.take(account, room.cost)
        if self.changed is not None:
            self.changed[name] = None
        return room

    def restore_messages(self, room: Room, offset: int, messages: Sequence[Message], stamps: Sequence[float], now: float) -> None:
        """Continue a room's history up to `offset`. `stamps`: when each message was published, if messages age.

        If the messages do not follow those that are there, the history begins anew with them.
        """
        history = room.history
        if messages:
            if messages[0].offset != room.offset + 1:
                history.clear()
        elif offset != room.offset:
            history.clear()
        for index, message in enumerate(messages):
            history.append(message, stamps[index] if stamps else now)
        room.offset = offset
        self._watch_age(room, now)

    def restore_latest(self, room: Room, message: Message | None) -> None:
        """Keep the latest message of a room, or none, and let the room make way as its last publication says."""
        self._replace_last(room, message)
        if room.history or message is not None:
            self._remembering[room] = None
            self._remembering.move_to_end(room)

    def settle(self) -> None:
        """Put rooms and keys that were restored in any order into the order of their age."""
        for rooms in (self._blank, self._idle, *{id(room.account): room.account.idle for room in self._rooms.values()}.values()):
            for room in sorted(rooms.values(), key=lambda room: room.touched):
                rooms.move_to_end(room.name)
        for room in sorted(self._remembering, key=lambda room: room.published_at):
            self._remembering.move_to_end(room)
        self.keys.settle()

    def used(self, room: Room, now: float) -> None:
        """Note that a room was used: it is now evicted last, or not at all while it has members."""
        room.touched = now
        self._blank.pop(room.name, None)
        self._idle.pop(room.name, None)
        room.account.idle.pop(room.name, None)
        if not room.members:
            room.account.idle[room.name] = room
            (self._idle if room.offset else self._blank)[room.name] = room

    def remember(self, room: Room, message: Message, key: str | None, now: float) -> None:
        """Keep a publication as far as the limits say: in the history, as the latest message, and its key."""
        if self.keeps_messages:
            room.history.append(message, now)
            if self._limits.history_age is not None:
                self._watch_age(room, now)
            if self._limits.latest:
                self._replace_last(room, message)
            try:
                self._remembering.move_to_end(room)
            except KeyError:
                self._remembering[room] = None
        if key is not None:
            if room.keys is None:
                room.keys = {}
            self.keys.add(room.keys, key, message.offset, now, message.account or self._budget.house)
        if not room.members:
            self.used(room, now)

    def history(self, name: str, since: Position | None, limit: int, reverse: bool, now: float) -> HistoryPage:
        """As `Broker.history`."""
        check_limit(limit)
        room = self._rooms.get(name)
        if room is None:
            return HistoryPage(name, "", 0, 1, gap=since is not None)
        history = room.history
        history.trim(now)
        strange = since is not None and not (since.epoch == room.epoch and 0 <= since.offset <= room.offset)
        messages, gap = history.page(None if since is None or strange else since.offset, limit, reverse, room.offset)
        gap = gap or strange
        return HistoryPage(name, room.epoch, room.offset, history.first(room.offset), messages, gap, room.last if gap else None)

    def listing(self, after: str, limit: int, pattern: str | None, now: float) -> RoomPage:
        """As `Broker.rooms`. Looks at every name, at about a tenth of a microsecond each."""
        check_limit(limit)
        if pattern is not None:
            check_pattern(pattern)
        names = (name for name in self._rooms if name > after and (pattern is None or matches(pattern, name)))
        page = heapq.nsmallest(limit + 1, names)
        infos = []
        for room in [self._rooms[name] for name in page[:limit]]:
            room.history.trim(now)
            infos.append(RoomInfo(room.name, room.epoch, room.offset, len(room.members), len(room.history)))
        return RoomPage(tuple(infos), page[limit - 1] if len(page) > limit else None)

    def clear(self) -> None:
        """Forget all rooms."""
        for room in list(self._rooms.values()):
            self.forget(room)

    def sweep(self, now: float, limit: int) -> int:
        """Forget keys and empty rooms whose time is over, and messages that are too old: up to about `limit` rooms.

        Returns the number of rooms that it looked at. MESSAGES_LIKE_A_ROOM messages count as one room.
        """
        self.keys.expire(now)
        seen = 0
        for rooms, keep in ((self._blank, self._limits.room_idle), (self._idle, self._limits.keep)):
            while rooms and seen < limit:
                room = next(iter(rooms.values()))
                if now - room.touched < keep:
                    break
                seen += 1 + len(room.history) // MESSAGES_LIKE_A_ROOM
                if room.pending:
                    self.used(room, now)
                else:
                    self.forget(room)
        seen += self._shorten_histories(limit - seen)
        while self._aging and seen < limit:
            room, due = next(iter(self._aging.items()))
            if due > now:
                break
            seen += 1 + len(room.history) // MESSAGES_LIKE_A_ROOM
            del self._aging[room]
            room.history.trim(now)
            self._watch_age(room, now)
        return seen

    def _shorten_histories(self, limit: int) -> int:
        """Drop messages above limits that have changed. The part of `limit` rooms that this was worth."""
        seen = 0
        while self._above_limits and seen < limit:
            room = next(iter(self._above_limits))
            dropped = room.history.shorten(MESSAGES_LIKE_A_ROOM)
            seen += 1
            if dropped < MESSAGES_LIKE_A_ROOM:
                del self._above_limits[room]
                self._look_whether_messages_are_kept()
        return seen

    # -- making place

    def afford(self, account: Account, size: int, spare: Room | None) -> None:
        """Forget things, those that are cheap to make again first, until `size` bytes fit. MemoryFull if nothing more can go.

        Empty rooms except `spare` go first, then the oldest messages of histories, then the oldest idempotency keys. If the account has
        its share, only its own rooms and keys go, and the messages of `spare`, the room that it publishes in.
        """
        while not self._budget.fits(account, size):
            if self._budget.is_own_fault(account, size):
                freed = self._evict(account.idle, spare) or self._shorten(spare) or self.keys.forget_oldest_of(account)
            else:
                freed = self._evict(self._blank, spare) or self._evict(self._idle, spare)
                freed = freed or self._shorten_any(spare) or self.keys.forget_oldest()
            if not freed:
                raise self._budget.refusal(account, size)

    def _make_place(self, account: Account) -> None:
        """Make place for one more room, which may replace an empty one. TooManyRooms if none can go."""
        own = account is not self._budget.house and account.rooms >= share(self._limits.max_rooms)
        if own and not self._evict(account.idle):
            raise TooManyRooms(f"this address or user has {account.rooms} rooms, an eighth of all, and none that could go")
        while len(self._rooms) >= self._limits.max_rooms:  # more than one goes if the limit has fallen
            if not (self._evict(self._blank) or self._evict(self._idle)):
                raise TooManyRooms(f"there are {self._limits.max_rooms} rooms, and none that could go")

    def _evict(self, rooms: OrderedDict[str, Room], spare: Room | None = None) -> bool:
        """Forget the first of these rooms without pending deliveries, except `spare`. Whether there was one."""
        for room in rooms.values():
            if not room.pending and room is not spare:
                self.forget(room)
                return True
        return False

    def _shorten(self, room: Room | None) -> bool:
        """Forget the oldest message of the room's history, or if that is empty, its latest. Whether there was one."""
        if room is None:
            return False
        if room.history:
            room.history.drop()
            return True
        if room.last is not None:
            self._replace_last(room, None)
            return True
        self._remembering.pop(room, None)
        return False

    def _shorten_any(self, room: Room | None) -> bool:
        """The same in this room or, if it keeps no message, in the room whose last publication is the oldest."""
        while not self._shorten(room):
            if not self._remembering:
                return False
            room = next(iter(self._remembering))
        return True

    def forget(self, room: Room) -> None:
        """Forget a room, which has no members."""
        del self._rooms[room.name]
        if self.changed is not None:
            self.changed[room.name] = None
        for rooms in (self._blank, self._idle, room.account.idle):
            rooms.pop(room.name, None)
        self._aging.pop(room, None)
        self._above_limits.pop(room, None)
        self._remembering.pop(room, None)
        room.history.clear()
        self._replace_last(room, None)
        for key in list((room.keys or {}).values()):
            self.keys.forget(key)
        room.account.rooms -= 1
        self._budget.give_back(room.account, room.cost)

    def _replace_last(self, room: Room, message: Message | None) -> None:
        former, room.last = room.last, message
        if message is not None and former is not None:
            self._budget.exchange(message, former)
        elif message is not None:
            self._budget.hold(message)
        elif former is not None:
            self._budget.release(former)

    def _watch_age(self, room: Room, now: float) -> None:
        if self._limits.history_age is not None and room.history and room not in self._aging:
            self._aging[room] = now + self._limits.history_age
