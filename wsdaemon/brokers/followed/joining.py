"""Joining a room, or a pattern: the answer of the order and the live messages that came meanwhile become one answer without a hole.

The coroutines here run in their caller up to the moment at which it resumes with the answer. In that moment the member becomes one of the
room's in this process, and the answer has all messages up to then.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from .. import Limits
from ..contract import MAX_PAGE, Change, Member, Message, PatternSubscribed, Position, Subscribed
from ..errors import BrokerUnavailable, NotSubscribed
from ..links.contract import Joined, Link
from ..local.members import LocalMembers
from ..local.rooms import Holder
from .patterns import FollowedPatterns
from .questions import PatientQuestions, no_answer
from .repairs import Repairs
from .room import FollowedRoom, net_changes
from .rooms import FollowedRooms

MAX_ATTEMPTS = 20
"""Times that a join is asked for, if the room begins anew meanwhile or its messages come faster than answers."""

MAX_PAGES = 20
"""Pages of a room's history in the answer to a pattern."""


class Attempt:
    """A member that is joining a room or getting a pattern. `ended`: it was removed meanwhile."""

    __slots__ = ("ended", "holder", "name")

    def __init__(self, holder: Holder, name: str) -> None:
        self.holder = holder
        self.name = name
        self.ended = False


class Joining:
    """The joins of one broker. `tell` is given changes of a room's roster. `timeout` in seconds."""

    def __init__(
        self, limits: Limits, link: Link, questions: PatientQuestions, rooms: FollowedRooms, patterns: FollowedPatterns, repairs: Repairs,
        local: LocalMembers, loop: Callable[[], AbstractEventLoop], timeout: float, tell: Callable[[FollowedRoom, Sequence[Change]], None],
    ) -> None:  # fmt: skip
        self._limits = limits
        self._link = link
        self._questions = questions
        self._rooms = rooms
        self._patterns = patterns
        self._repairs = repairs
        self._local = local
        self._loop = loop
        self._timeout = timeout
        self._tell = tell
        self._attempts: dict[str, list[Attempt]] = {}

    def under_way(self, key: str) -> list[Attempt]:
        """The attempts of the member with this id."""
        return self._attempts.get(key, [])

    def end(self, member: Member) -> None:
        """The member is removed: its attempts fail with NotSubscribed."""
        for attempt in self.under_way(member.id):
            attempt.ended = attempt.ended or attempt.holder.member is member

    async def room(
        self, name: str, holder: Holder, since: Position | None, watch: bool, ask: Callable[[], Awaitable[Joined]] | None = None
    ) -> Subscribed:  # fmt: skip
        """Make a member one of the room's. The checks of this process are done. `ask`: the question to the order, if it is another one."""
        room = self._rooms.ready(name)
        room.joins += 1
        attempt = self._begin(holder, name)
        entered = False
        try:
            for _ in range(MAX_ATTEMPTS):
                room.watched = room.watched or watch
                joined = await (self._join(name, holder, since, watch) if ask is None else ask())
                if await self._in_step(room, joined.position):
                    answer = self._enter(room, attempt, since, joined, watch)
                    entered = True
                    return answer
            raise no_answer(self._timeout)
        finally:
            self._finish(attempt)
            room.joins -= 1
            if not room.joins:
                room.forget_recent()
            if not entered:
                self._link.leave(name, holder.member.id)
                self.left(room)

    def _join(self, name: str, holder: Holder, since: Position | None, watch: bool) -> Future[Joined]:
        return self._questions.ask(partial(self._link.join, name, holder.presence, since, watch=watch, owner=holder.account.owner))

    def left(self, room: FollowedRoom) -> None:
        """A member left the room, or did not join it."""
        if not room.members and not room.joins:
            self._link.unfollow(room.name)
            room.roster, room.watched = None, False
            room.early_changes.clear()
            self._rooms.count_roster(room)
            self._rooms.used_by(room, self._patterns.hears(room.name))

    async def pattern(self, pattern: str, holder: Holder, known: Mapping[str, Position]) -> PatternSubscribed:
        """Give a member a pattern, and the messages after the known positions. The checks of this process are done."""
        attempt = self._begin(holder, pattern)
        rooms: dict[str, FollowedRoom] = {}
        entered = False
        try:
            await self._patterns.follow(pattern, lambda: self._repairs.seen if self._repairs.whole else None)
            try:
                for name in known:
                    rooms[name] = self._rooms.ready(name)
                    rooms[name].joins += 1
                found = await self._missed(rooms, known)
                answer = self._enter_pattern(pattern, attempt, rooms, found)
                entered = True
                return answer
            finally:
                if not entered:
                    self._patterns.leave(pattern)
        finally:
            self._finish(attempt)
            for room in rooms.values():
                room.joins -= 1
                if not room.joins:
                    room.forget_recent()
                self._rooms.used_by(room, self._patterns.hears(room.name))

    def _begin(self, holder: Holder, name: str) -> Attempt:
        attempt = Attempt(holder, name)
        self._attempts.setdefault(holder.member.id, []).append(attempt)
        return attempt

    def _finish(self, attempt: Attempt) -> None:
        key = attempt.holder.member.id
        self._attempts[key].remove(attempt)
        if not self._attempts[key]:
            del self._attempts[key]

    # -- in step with the order

    async def _in_step(self, room: FollowedRoom, position: Position) -> bool:
        """Wait until the room here is as far as the order was. False if the answer is of no use, because the room has begun anew."""
        if not room.known:
            await self._find_position(room, position)
        while not room.covers(position):
            if room.epoch == position.epoch and room.offset > position.offset:
                return False
            if room.epoch == position.epoch:
                self._repairs.soon(room)
            else:
                self._repairs.now(room)
            await self._progress(room)
            if room.epoch != position.epoch and room.repair is None:
                return False
        return True

    async def _find_position(self, room: FollowedRoom, position: Position) -> None:
        """Begin with the order's answer, or if patterns hear the room, with what their members were given of it."""
        since = self._patterns.since(room.name)
        if since is not None:
            self._repairs.now(room, since)
            while room.repair is not None:
                await self._progress(room)
        if not room.known:
            room.epoch, room.offset, room.known = position.epoch, position.offset, True
        room.forget_early()
        self._rooms.drain(room)
        if room.has_early:
            self._repairs.soon(room)

    async def _progress(self, room: FollowedRoom) -> None:
        loop = self._loop()
        future: Future[None] = loop.create_future()
        room.progress(future)
        timer = loop.call_later(self._timeout, _expire, future, self._timeout)
        try:
            await future
        finally:
            timer.cancel()

    def _still_there(self, attempt: Attempt) -> None:
        if attempt.ended:
            raise NotSubscribed("the member was removed while it joined")

    def _latest(self, room: FollowedRoom, latest: Message | None) -> Message | None:
        """The room's last message, if rooms keep it; `latest` is the order's answer."""
        if not self._limits.latest:
            return None
        return room.latest if room.latest is not None and room.latest.offset == room.offset else latest

    def _answer(self, room: FollowedRoom, since: Position | None, joined: Joined) -> Subscribed:
        if joined.gap or since is None:
            return Subscribed(room.name, room.epoch, room.offset, (), joined.gap, self._latest(room, joined.latest))
        messages = joined.messages + room.recent(joined.position.offset)
        return Subscribed(room.name, room.epoch, room.offset, messages)

    def _enter(self, room: FollowedRoom, attempt: Attempt, since: Position | None, joined: Joined, watch: bool) -> Subscribed:
        local, holder = self._local, attempt.holder
        self._still_there(attempt)
        if joined.latest is not None and joined.latest.offset == room.offset:
            room.latest = joined.latest
        if room.pending and holder.hears(room.name):
            local.catch_up(room, holder)
        holder = local.holder(holder.member, holder.account)  # another one, if the member has left its last room meanwhile
        local.enter(room, holder)
        answer = self._answer(room, since, joined)
        if joined.roster is not None:
            self._tell(room, room.take_roster(joined.roster))
        if watch and room.roster is not None:
            local.watch(room, holder.member, noted=True)
            answer = replace(answer, present=tuple(room.roster.values()))
            if joined.changes is not None and joined.roster is not None:
                changes = net_changes(joined.roster.members, joined.changes, room.roster, holder.member.id)
                answer = replace(answer, changes=changes)
        return answer

    # -- patterns

    async def _missed(self, rooms: Mapping[str, FollowedRoom], known: Mapping[str, Position]) -> Mapping[str, Joined]:
        """The messages after the positions, when all of these rooms are in step."""
        found: dict[str, Joined] = {}
        for _ in range(MAX_ATTEMPTS):
            for name, room in rooms.items():
                if name not in found or not room.covers(found[name].position):
                    found[name] = await self._history(name, known[name])
                    if not await self._in_step(room, found[name].position):
                        del found[name]
            if all(name in found and room.covers(found[name].position) for name, room in rooms.items()):
                return found
        raise no_answer(self._timeout)

    async def _history(self, name: str, since: Position) -> Joined:
        messages: tuple[Message, ...] = ()
        for _ in range(MAX_PAGES):
            page = await self._questions.ask(partial(self._link.history, name, since, MAX_PAGE, False))
            if page.gap:
                return Joined(Position(page.epoch, page.offset), gap=True, latest=page.latest)
            messages += page.messages
            since = Position(page.epoch, messages[-1].offset if messages else page.offset)
            if since.offset >= page.offset:
                return Joined(since, messages)
        raise BrokerUnavailable("messages of the room come faster than its history can be read")

    def _enter_pattern(
        self, pattern: str, attempt: Attempt, rooms: Mapping[str, FollowedRoom], found: Mapping[str, Joined]
    ) -> PatternSubscribed:  # fmt: skip
        local, holder = self._local, attempt.holder
        self._still_there(attempt)
        for name, room in rooms.items():
            if room.pending and (holder.member.id in room.members or holder.hears(name)):
                local.catch_up(room, holder)
        holder = local.holder(holder.member, holder.account)
        local.enter_pattern(pattern, holder)
        nowhere = Position("", 0)
        return PatternSubscribed(pattern, tuple([self._answer(room, nowhere, found[name]) for name, room in rooms.items()]))


def _expire(future: Future[None], timeout: float) -> None:
    if not future.done():
        future.set_exception(no_answer(timeout))
