"""The rooms that this process follows, and the way of their messages into the outboxes of its members."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from .. import Limits
from ..budget import Budget
from ..contract import Message, Subscribed
from ..links.contract import Link
from ..local.members import LocalMembers
from ..room import room_cost
from .room import ROSTER_BYTES, FollowedRoom

PENDING_WHILE_BEHIND = 16
"""A room takes no live messages while this many times `max_pending` wait for its members. It asks for them when half are delivered."""


class FollowedRooms:
    """The rooms by name. `behind` is called with a room that missed messages because its members were slow, once they have caught up.

    A room that only patterns hear is kept so that its gaps are found: at most `max_rooms` of them, the one that was unused the longest goes
    first.
    """

    def __init__(self, limits: Limits, local: LocalMembers, link: Link, budget: Budget, behind: Callable[[FollowedRoom], None]) -> None:
        self._limits = limits
        self._local = local
        self._link = link
        self._budget = budget
        self._behind = behind
        self._rooms: dict[str, FollowedRoom] = {}
        self._heard: OrderedDict[str, FollowedRoom] = OrderedDict()  # rooms without members, least recently used first
        self._crowded: set[FollowedRoom] = set()
        self._watching = False
        self.get = self._rooms.get

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[FollowedRoom]:
        return iter(self._rooms.values())

    def ready(self, name: str) -> FollowedRoom:
        """The room, for a member that is joining: count it in `joins`."""
        room = self._rooms.get(name)
        if room is None:
            room = self._make(name)
        self._heard.pop(name, None)
        return room

    def hear(self, name: str) -> FollowedRoom:
        """A room that a pattern hears for the first time."""
        room = self._make(name)
        self._heard[name] = room
        while len(self._heard) > self._limits.max_rooms:
            self._forget(next(iter(self._heard.values())))
        return room

    def used_by(self, room: FollowedRoom, patterns: bool) -> None:
        """Note that a member left or stopped joining; `patterns`: some pattern that is followed matches."""
        if not room.members and not room.joins and self._rooms.get(room.name) is room:
            if patterns:
                self._heard[room.name] = room
            else:
                self._forget(room)

    def count_roster(self, room: FollowedRoom) -> None:
        """Count the roster of a room in the budget, even if it does not fit: the order decides about members."""
        size = ROSTER_BYTES * len(room.roster or ())
        self._budget.take(self._budget.house, size - room.counted)
        room.counted = size

    def only_heard(self) -> list[FollowedRoom]:
        """The rooms that only patterns hear."""
        return list(self._heard.values())

    def forget(self, room: FollowedRoom) -> None:
        """Forget a room that only patterns hear."""
        if self._heard.get(room.name) is room:
            self._forget(room)

    def close(self) -> None:
        """Forget all."""
        for room in list(self._rooms.values()):
            self._forget(room)

    def _make(self, name: str) -> FollowedRoom:
        room = self._rooms[name] = FollowedRoom(name)
        self._budget.take(self._budget.house, room_cost(name))
        return room

    def _forget(self, room: FollowedRoom) -> None:
        del self._rooms[room.name]
        self._heard.pop(room.name, None)
        self._crowded.discard(room)
        self._budget.give_back(self._budget.house, room_cost(room.name) + room.counted)
        if room.repair is not None:
            room.repair.cancel()
        if room.holding:
            self._link.hold(room.name, False)

    # -- messages

    def take(self, room: FollowedRoom, message: Message) -> bool:
        """Give the outbox the room's next message. False if the outbox is too full: the room is behind then, and takes no more."""
        local = self._local
        if room.waiting >= self._limits.max_pending:
            self._crowd(room)
            if room.behind or room.waiting >= PENDING_WHILE_BEHIND * self._limits.max_pending or self._budget.used > self._budget.limit:
                room.behind = True
                return False
        room.advance(message)
        if self._limits.latest:
            room.latest = message
        targets = room.targets
        if targets is None or room.targets_version != local.patterns.version:
            targets = local.targets(room)
        skip = None
        if not message.echo and message.publisher is not None and (holder := local.holders.get(message.publisher)) is not None:
            skip = holder.member
        if targets and targets != (skip,):
            local.fan.submit(room, message, targets, skip, len(targets) <= self._limits.inline)
        if room.name in self._heard:
            self._heard.move_to_end(room.name)
        room.wake()
        return True

    def drain(self, room: FollowedRoom) -> None:
        """Take the early messages that are next now."""
        while not room.behind and (message := room.next_early()) is not None:
            self.take(room, message)

    def break_off(self, room: FollowedRoom, epoch: str, offset: int, latest: Message | None) -> None:
        """Tell all members of a break: the room continues after this position."""
        if room.epoch != epoch or offset < room.offset:  # waiting items are lost too: an outbox holds offsets of one order
            self._local.fan.drop(room)
            room.behind = False
        room.epoch, room.offset, room.known = epoch, offset, True
        room.forget_recent()
        room.latest = latest
        present = None
        if room.roster is not None and room.presence is not None:
            present = tuple(room.roster.values())
            room.presence.restart()
        messages = (latest,) if latest is not None and latest.offset == offset else ()
        self._local.break_off(room, Subscribed(room.name, epoch, offset, messages, True), present)
        room.wake()

    # -- slow members

    def _crowd(self, room: FollowedRoom) -> None:
        if not room.holding:
            room.holding = True
            self._link.hold(room.name, True)
            self._crowded.add(room)
            self._watch()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._local.fan.call_after_turn(self._look)

    def _look(self) -> None:
        """Let publishers go on in the rooms whose members have caught up."""
        self._watching = False
        for room in list(self._crowded):
            if room.waiting <= self._limits.max_pending // 2:
                self._crowded.discard(room)
                room.holding = False
                self._link.hold(room.name, False)
                if room.behind:
                    room.behind = False
                    self._behind(room)
        if self._crowded and self._local.fan.active:
            self._watch()
