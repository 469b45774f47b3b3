"""The rooms of one mount on their way from a hub to its successor: the part of `succession` that concerns one MountOrder.

`GivenRooms` makes the frames, a few at a time, while the order goes on; the rooms that change meanwhile are sent again, from where they
were. `TakenRooms` does with an order of the successor as the frames say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..brokers.budget import SUBSCRIPTION_BYTES
from ..brokers.contract import Message, Presence
from ..brokers.keys import IdempotencyKey
from ..brokers.pages import first_messages
from ..brokers.room import Room
from .numbers import Numbers
from .protocol import ANSWER, HEADER, frame
from .room_messages import sheet
from .rooms import MountOrder, RosterEntry, roster_of
from .server import WorkerLink
from .succession import (
    GONE,
    LATEST_EXTRA,
    LATEST_IS_NEWEST,
    LATEST_KEPT,
    LATEST_NONE,
    PART_BYTES,
    PART_ENTRIES,
    ROOM,
    ROSTER,
    numbers_frames,
    parts,
)


class GivenRooms:
    """The order of mount `number`, which is given. `frames` has everything at first, and later the changes since the last time."""

    def __init__(self, number: int, order: MountOrder) -> None:
        self._number = number
        self._order = order
        self._sent: dict[str, tuple[str, int]] = {}  # the epoch and the offset up to which each room was sent
        self._marks: dict[bytes, tuple[int, int]] = {}
        order.table.changed = dict.fromkeys(order.table)
        order.roster_changes = {}

    def close(self) -> None:
        """Take no notes of changes any more."""
        self._order.table.changed = self._order.roster_changes = None

    @property
    def workers(self) -> set[bytes]:
        """The instances of the workers that have the mount."""
        return {*(link.instance for link in self._order.links), *self._order.awaited}

    def frames(self) -> Iterator[bytes]:
        order = self._order
        rooms, order.table.changed = order.table.changed or {}, {}
        rosters, order.roster_changes = order.roster_changes or {}, {}
        for name in rooms:
            yield from self._room(name)
        by_room: dict[str, list[str]] = {}
        for name, member in rosters:
            by_room.setdefault(name, []).append(member)
        for name, members in by_room.items():
            yield from self._roster(name, members)
        for instance, numbers in list(order.numbers.items()):
            answers, self._marks[instance] = numbers.since(self._marks.get(instance, (0, 0)))
            yield from numbers_frames(self._number, instance, [(number, answer[HEADER.size :]) for number, answer in answers])

    # -- one room

    def _room(self, name: str) -> Iterator[bytes]:
        """The room up to its offset of now, in as many parts as it needs. It may change or end between two of them."""
        target = 0
        while True:
            room = self._order.table.get(name)
            epoch, after = self._sent.get(name, ("", 0))
            if room is None:
                if epoch:
                    del self._sent[name]
                    yield frame(GONE, 0, sheet([self._number, name]))
                return
            is_new = room.epoch != epoch
            if is_new:
                after, target = 0, room.offset
            target = target or room.offset
            stop, body = self._part(room, after, is_new)
            self._sent[name] = room.epoch, stop
            yield frame(ROOM, self._number, body)
            if is_new:
                yield from self._roster(name, list(roster_of(room)))
            if stop >= target:
                return

    def _part(self, room: Room, after: int, is_new: bool) -> tuple[int, bytes]:
        """The room from the message after this offset, as far as one frame has place; and the offset at which it stops."""
        history = room.history
        start = max(after + 1, history.first(room.offset))
        messages = first_messages(history.between(start, start + PART_ENTRIES, room.offset), PART_BYTES)
        stop = messages[-1].offset if messages else room.offset
        keys = list(_keys_after(room, after))
        if len(keys) > PART_ENTRIES:
            del keys[PART_ENTRIES:]
            stop = min(stop, keys[-1].offset)
        messages = [message for message in messages if message.offset <= stop]
        keys = [key for key in keys if key.offset <= stop]
        latest, extra = _latest(room, messages, stop, None if is_new else after)
        value = [
            room.name, room.epoch, room.account.owner, stop, room.touched, room.published_at,
            None if room.bucket is None else room.bucket.state(), latest,
            [[key.name, key.offset, key.time, key.account.owner] for key in keys], list(history.stamps(start, stop + 1, room.offset)),
        ]  # fmt: skip
        return stop, sheet(value, [*messages, *extra], owned=True)

    def _roster(self, name: str, members: Sequence[str]) -> Iterator[bytes]:
        for part in parts(members):
            room = self._order.table.get(name)
            if room is None:
                return
            roster = roster_of(room)
            values = [_member(id, roster.get(id)) for id in part]
            yield frame(ROSTER, 0, sheet([self._number, name, values]))


def _member(id: str, entry: RosterEntry | None) -> list[Any]:
    if entry is None:
        return [id]
    return [id, dict(entry.presence.identity), entry.link.instance.hex(), entry.account.owner]


def _keys_after(room: Room, after: int) -> Iterable[IdempotencyKey]:
    """The keys of the publications after this offset, in order."""
    keys: list[IdempotencyKey] = []
    for key in reversed((room.keys or {}).values()):
        if key.offset <= after:
            break
        keys.append(key)
    return reversed(keys)


def _latest(room: Room, messages: Sequence[Message], stop: int, after: int | None) -> tuple[int, Sequence[Message]]:
    """Which is the room's latest message, and the message itself if it is none of these. `after`: the offset that was sent before."""
    last = room.last
    if last is None or stop < last.offset:
        return LATEST_NONE, ()
    if messages and messages[-1] is last:
        return LATEST_IS_NEWEST, ()
    if after is not None and last.offset <= after:
        return LATEST_KEPT, ()
    return LATEST_EXTRA, (last,)


class TakenRooms:
    """The order of a mount in the successor. `former` returns the link that stands for a worker until it has linked itself here."""

    def __init__(self, order: MountOrder, former: Callable[[bytes], WorkerLink], clock: Callable[[], float]) -> None:
        self.order = order
        self._former = former
        self._clock = clock

    def room(self, value: Any, messages: Sequence[Message]) -> None:
        """As ROOM."""
        name, epoch, owner, offset, touched, time, bucket, latest, keys, stamps = value
        order, table = self.order, self.order.table
        room = table.get(name)
        if room is not None and room.epoch != epoch:
            self.gone(name)
            room = None
        if room is None:
            room = table.restore(name, epoch, order.account(owner), touched)
        extra = messages[-1] if latest == LATEST_EXTRA else None
        now = self._clock()
        table.restore_messages(room, offset, messages if extra is None else messages[:-1], stamps, now)
        if latest != LATEST_KEPT:
            table.restore_latest(room, messages[-1] if latest != LATEST_NONE else None)
        if room.bucket is not None and bucket is not None:
            room.bucket.restore(*bucket)
        room.published_at = time
        self._add_keys(room, keys)
        table.used(room, touched)

    def _add_keys(self, room: Room, keys: Sequence[Sequence[Any]]) -> None:
        table = self.order.table.keys
        if keys and room.keys is None:
            room.keys = {}
        for name, offset, time, owner in keys:
            assert room.keys is not None
            if name in room.keys:
                table.forget(room.keys[name])
            table.add(room.keys, name, offset, time, self.order.account(owner))

    def gone(self, name: str) -> None:
        """As GONE."""
        room = self.order.table.get(name)
        if room is not None:
            self._take_out(room, list(roster_of(room)))
            self.order.table.forget(room)

    def roster(self, name: str, members: Sequence[Sequence[Any]]) -> None:
        """As ROSTER. A room that is not there has ended, or comes whole."""
        order = self.order
        room = order.table.get(name)
        if room is None:
            return
        self._take_out(room, [member[0] for member in members])
        for id, identity, instance, owner in [member for member in members if len(member) > 1]:
            account = order.account(owner)
            order.budget.take(account, SUBSCRIPTION_BYTES)
            roster_of(room)[id] = RosterEntry(Presence(id, identity), self._former(bytes.fromhex(instance)), account)
        order.table.used(room, room.touched)

    def _take_out(self, room: Room, members: Iterable[str]) -> None:
        roster = roster_of(room)
        for id in members:
            if (entry := roster.pop(id, None)) is not None:
                self.order.budget.give_back(entry.account, SUBSCRIPTION_BYTES)

    def settle(self) -> None:
        """Everything was sent once: put it into the order of its age."""
        self.order.table.settle()

    def numbers(self, instance: bytes, answers: Iterable[tuple[int, bytes]]) -> None:
        """As NUMBERS."""
        numbers = self.order.numbers.setdefault(instance, Numbers(self._clock()))
        for number, answer in answers:
            numbers.add(number, frame(ANSWER, 0, answer))
