"""The order of the rooms of one mount, over all workers: epochs, offsets, histories, keys, rosters, and the limits that hold for all.

The workers serve the members. The order knows which worker follows which room, and gives each publication to them, once for each worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import cast

from ..brokers import Limits, contract, errors
from ..brokers.account import Account
from ..brokers.budget import SUBSCRIPTION_BYTES, Budget
from ..brokers.contract import Change, HistoryPage, Message, Position, Presence, PresencePage, RoomPage
from ..brokers.links.contract import Joined, Roster, Standing, StandingPage
from ..brokers.pages import first_messages
from ..brokers.patterns import check_pattern, matches
from ..brokers.room import Room
from ..brokers.table import RoomTable
from ..core.rate import TokenBucket
from . import protocol, room_messages
from .followers import Followers
from .holds import Holds
from .numbers import Numbers
from .recent import Recent
from .room_messages import Source
from .server import WorkerLink

PAGE_BYTES = 4 << 20
"""Payload of the messages in one page of a history."""


class RosterEntry:
    """A member in a room's roster. `link`: of the worker that serves it. `stale`: the worker has yet to declare it again."""

    __slots__ = ("account", "link", "presence", "stale")

    def __init__(self, presence: Presence, link: WorkerLink, account: Account) -> None:
        self.presence = presence
        self.link = link
        self.account = account
        self.stale = False


def roster_of(room: Room) -> dict[str, RosterEntry]:
    """The members of a room, in the order they came. The hub's rooms have entries where those of a process have its members."""
    return cast("dict[str, RosterEntry]", room.members)


class MountOrder:
    """The rooms of the mount at `path`. `number` names the mount on the links.

    `clock` is monotonic and `wall` in seconds since 1970. `new_epoch` returns EPOCH_CHARACTERS of ASCII, unique in all time. Errors
    are BrokerErrors.
    """

    def __init__(
        self, number: int, path: str, limits: Limits,
        clock: Callable[[], float], wall: Callable[[], float], new_epoch: Callable[[], str],
    ) -> None:  # fmt: skip
        self.number = number
        self.path = path
        self.limits = limits
        self.generation = 0
        """That of the workers whose limits hold."""
        self.budget = Budget(limits.memory)
        self.links: dict[WorkerLink, Numbers] = {}
        """The workers that have this mount, and the numbers of their publications."""
        self.clock = clock
        self.wall = wall
        self.table = RoomTable(limits, self.budget, new_epoch)
        self.followers = Followers(new_epoch)
        self.holds = Holds(self._tell_held)
        self.numbers: dict[bytes, Numbers] = {}
        """The numbers of the publications of each instance of a worker."""
        self.roster_changes: dict[tuple[str, str], None] | None = None
        """While a new hub is given the order: the room and the id of each member that came or left since it was told of it."""
        self.awaited: dict[bytes, WorkerLink] = {}
        """After a succession: the links of the former hub, by the worker's instance, until the worker has declared itself here."""
        self.recent: Recent | None = None
        """While connections go from the workers of one generation to those of the next."""

    @property
    def remembered_numbers(self) -> int:
        """The number of answers that are remembered for workers that ask again."""
        return sum(map(len, self.numbers.values()))

    @property
    def key_count(self) -> int:
        """The number of idempotency keys that all rooms remember."""
        return len(self.table.keys)

    def change_limits(self, limits: Limits, generation: int) -> None:
        """Have other limits for joins, publications and new rooms from now on. Rooms and members that are there stay."""
        self.generation = generation
        if limits != self.limits:
            self.limits = limits
            self.budget.change_limit(limits.memory)
            self.table.change_limits(limits, self.clock())

    # -- publications, for `HubPublications`

    def check_rate(self, bucket: TokenBucket) -> None:
        """Take one publication from a room's rate. Errors: RateLimited."""
        if wait := bucket.take(self.clock()):
            raise errors.RateLimited(f"the room takes {self.limits.rate:g} publications a second", wait)

    def keep(self, source: Source, account: Account, room: Room, payload: bytes, time: float, key: str | None) -> None:
        """Keep the newest publication of a room as far as the limits say. `make_place` has made place for it."""
        message = Message(
            room.name, room.epoch, room.offset, payload, source.text, time, source.publisher, source.content_type, account, source.echo
        )
        self.table.remember(room, message, key, self.clock())
        if self.recent is not None:
            self.recent.message(message)

    def account(self, owner: str) -> Account:
        """The account of an owner, or the program's if that is empty."""
        return self.budget.account(owner) if owner else self.budget.house

    # -- members and followers

    def join(
        self, link: WorkerLink, name: str, who: Presence, since: Position | None, watch: bool, owner: str
    ) -> Joined:  # fmt: skip
        """As `Link.join`."""
        now = self.clock()
        room = self._enter(link, name, who, watch, owner, now)
        messages, gap = room.missed(since, now)
        latest = room.last if gap or since is None else None
        return Joined(Position(room.epoch, room.offset), messages, gap, latest, self.roster(name) if watch else None)

    def move(
        self, link: WorkerLink, name: str, who: Presence, since: Position, watch: bool, owner: str, told: Position | None
    ) -> Joined:  # fmt: skip
        """As `MovingLink.move`."""
        now = self.clock()
        room = self._enter(link, name, who, watch, owner, now, moved=True)
        top = Position(room.epoch, room.offset)
        messages, gap = room.missed(since, now)
        if gap and self.recent is not None and (kept := self.recent.messages_after(name, since, top)) is not None:
            messages, gap = kept, False
        roster = self.roster(name) if watch else None
        changes: tuple[Change, ...] | None = None
        if roster is not None and told == roster.position:
            changes = ()
        elif roster is not None and told is not None and self.recent is not None:
            changes = self.recent.changes_after(name, told, roster.position)
        return Joined(top, messages, gap, room.last if gap else None, roster, changes)

    def _enter(
        self, link: WorkerLink, name: str, who: Presence, watch: bool, owner: str, now: float, moved: bool = False
    ) -> Room:  # fmt: skip
        room = self.table.get(name)
        entry = None if room is None else roster_of(room).get(who.id)
        if room is not None and entry is not None:
            if entry.link is not link:
                if not moved and link.generation <= entry.link.generation:
                    raise errors.DuplicateMember("a member of another worker has this id")
                entry.link = link
                self._note(name, who.id)
            entry.stale = False
            self.followers.follow(link, name, watch)
            return room
        if room is not None and len(room.members) >= self.limits.max_members:
            raise errors.RoomFull(f"the room has {self.limits.max_members} members")
        account = self.account(owner)
        room = self.table.ready(name, room, SUBSCRIPTION_BYTES, account, now)
        self._add(link, room, who, watch, account, now)
        return room

    def _add(self, link: WorkerLink, room: Room, who: Presence, watch: bool, account: Account, now: float) -> None:
        """Make a member one of the room's. The checks are done."""
        self.budget.take(account, SUBSCRIPTION_BYTES)
        roster_of(room)[who.id] = RosterEntry(who, link, account)
        self.table.used(room, now)
        self._note(room.name, who.id)
        self.followers.follow(link, room.name, watch)
        self._tell_changes(room.name, (Change("joined", who),))

    def follow_pattern(self, link: WorkerLink, pattern: str) -> float:
        """As `Link.follow_pattern`."""
        self.followers.follow_pattern(link, pattern)
        return self.wall()

    def leave(self, link: WorkerLink, name: str, member: str) -> None:
        """As `Link.leave`."""
        room = self.table.get(name)
        entry = None if room is None else roster_of(room).get(member)
        if room is not None and entry is not None and entry.link is link:
            self._take_out(room, [entry])

    def _take_out(self, room: Room, entries: Sequence[RosterEntry]) -> None:
        """Take members out of a room, and tell it in one notice."""
        roster = roster_of(room)
        for entry in entries:
            del roster[entry.presence.id]
            self._note(room.name, entry.presence.id)
            self.budget.give_back(entry.account, SUBSCRIPTION_BYTES)
        if not roster:
            self.table.used(room, self.clock())
        self._tell_changes(room.name, [Change("left", entry.presence) for entry in entries])

    def _note(self, name: str, member: str) -> None:
        """Remember a change of a room's roster for a successor."""
        if self.roster_changes is not None and self.table.changed is not None:
            self.table.changed[name] = None
            self.roster_changes[name, member] = None

    def _tell_changes(self, name: str, changes: Sequence[Change]) -> None:
        following = self.followers.rooms.get(name)
        if following is None or not changes:
            return
        following.changes += len(changes)
        if self.recent is not None:
            self.recent.changed(name, following.position, list(changes))
        watching = [link for link, watch in following.links.items() if watch]
        if watching:
            value = [self.number, name, *following.position, room_messages.changes_value(changes)]
            frame = protocol.frame(room_messages.ROSTER_CHANGED, 0, room_messages.sheet(value))
            for link in watching:
                link.send(frame)

    def unfollow(self, link: WorkerLink, name: str) -> None:
        """As `Link.unfollow`. Members of this worker that are left in the room leave."""
        room = self.table.get(name)
        left = [] if room is None else [entry for entry in roster_of(room).values() if entry.link is link]
        self.followers.unfollow(link, name)
        if room is not None and left:
            self._take_out(room, left)

    # -- the beginning and the end of links

    def begin(self, link: WorkerLink) -> None:
        """The worker has the mount, and will declare its members and patterns. Those that it had on this link are members until then."""
        self.links[link] = self.numbers.setdefault(link.instance, Numbers(self.clock()))
        former = self.awaited.get(link.instance, link)
        for _, entries in self._entries_of(former):
            for entry in entries:
                entry.link, entry.stale = link, True
        self._let_go(link)

    def declare(self, link: WorkerLink, name: str, members: Iterable[tuple[Presence, str]], watch: bool, held: bool) -> None:
        """Count these members of the worker in the room, and let it follow the room.

        They are in the room already, so no limit refuses them: with a new hub, or after a reload, there may be more than a limit allows
        until some leave. The limits of each worker bound their number.
        """
        now = self.clock()
        self.followers.follow(link, name, watch)
        for who, owner in members:
            room = self.table.get(name)
            if room is not None and who.id in room.members:
                with suppress(errors.DuplicateMember):  # its connection has gone along to a worker of the next generation
                    self._enter(link, name, who, watch, owner, now)
            else:
                account = self.account(owner)
                self._add(link, self.table.ready_anyway(name, room, account, now), who, watch, account, now)
        if held:
            self.holds.hold(link, name, True)

    def declared(self, link: WorkerLink) -> None:
        """The worker has declared everything. Members that it did not name again have left."""
        self.awaited.pop(link.instance, None)
        for room, entries in self._entries_of(link):
            if stale := [entry for entry in entries if entry.stale]:
                self._take_out(room, stale)

    def end(self, link: WorkerLink) -> None:
        """The worker has ended, or its link: its members leave, with one notice in each room."""
        self.links.pop(link, None)
        self.awaited.pop(link.instance, None)
        self._let_go(link)
        for room, entries in self._entries_of(link):
            self._take_out(room, entries)

    def _entries_of(self, link: WorkerLink) -> list[tuple[Room, list[RosterEntry]]]:
        """The rooms that have members of this worker, and these."""
        found = []
        for name in self.table:
            room = self.table[name]
            if room.members and (entries := [entry for entry in roster_of(room).values() if entry.link is link]):
                found.append((room, entries))
        return found

    def _let_go(self, link: WorkerLink) -> None:
        self.followers.forget(link)
        self.holds.forget(link)

    def _tell_held(self, name: str, held: bool) -> None:
        frame = protocol.frame(room_messages.HELD, 0, room_messages.sheet([self.number, name, held]))
        for each in self.links:
            each.send(frame)

    # -- questions

    def history(self, name: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        """As `Link.history`; less than `limit` messages, if they have more than PAGE_BYTES."""
        page = self.table.history(name, since, limit, reverse, self.clock())
        return replace(page, messages=tuple(first_messages(page.messages, PAGE_BYTES)))

    def presence(self, name: str, limit: int | None) -> PresencePage:
        """As `Link.presence`."""
        room = self.table.get(name)
        if room is None:
            return PresencePage(0, ())
        return PresencePage(len(room.members), tuple([entry.presence for entry in islice(roster_of(room).values(), limit)]))

    def roster(self, name: str) -> Roster | None:
        """As `Link.roster`."""
        following, room = self.followers.rooms.get(name), self.table.get(name)
        if following is None:
            return None
        entries = () if room is None else roster_of(room).values()
        return Roster(following.position, tuple([entry.presence for entry in entries]))

    def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage:
        """As `Link.rooms`."""
        return self.table.listing(after, limit, pattern, self.clock())

    def standings(self, names: Iterable[str]) -> dict[str, Standing]:
        """As `Link.standings`."""
        return {name: self._standing(room) for name in names if (room := self.table.get(name)) is not None}

    def changed(self, pattern: str, since: float, after: str, limit: int) -> StandingPage:
        """As `Link.changed`."""
        contract.check_limit(limit)
        check_pattern(pattern)
        table = self.table
        names = (name for name in table if name > after and table[name].published_at >= since and matches(pattern, name))
        page = heapq.nsmallest(limit + 1, names)
        rooms = [(name, self._standing(self.table[name])) for name in page[:limit]]
        return StandingPage(tuple(rooms), page[limit - 1] if len(page) > limit else None)

    def _standing(self, room: Room) -> Standing:
        following = self.followers.rooms.get(room.name)
        position = None if following is None else following.position
        return Standing(Position(room.epoch, room.offset), room.published_at, position)

    # -- time

    def sweep(self, limit: int) -> int:
        """Forget what is too old; as `MemoryBroker.sweep`."""
        now = self.clock()
        linked = {link.instance for link in self.links}
        for instance, numbers in list(self.numbers.items()):
            numbers.forget(now)
            if not len(numbers) and instance not in linked:
                del self.numbers[instance]
        return self.table.sweep(now, limit)
