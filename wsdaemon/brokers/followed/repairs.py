"""Repairs: asking for the messages that did not come live, and telling members of those that are lost.

A repair asks for the history after the room's position, page by page, and gives the messages to the members as if they had come live. If
the order no longer has all of them, or has begun the room anew, the members are told of a break first. Positions are compared after each
loss of the link, and from time to time, because nothing but a comparison shows that the last message of a room is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any

from ..contract import Change, HistoryPage, Later, Position
from ..errors import BrokerError, BrokerUnavailable
from ..links.contract import MAX_STANDINGS, Link, Standing
from ..local.members import LocalMembers
from ..patterns import matches
from .patterns import FollowedPatterns
from .questions import PatientQuestions
from .room import FollowedRoom
from .rooms import FollowedRooms

REORDER_SECONDS = 0.2
"""How long a message may be missing before it is asked for, because a later one may only have overtaken it."""

PAGE_MESSAGES = 200
"""Messages of one question for a history."""

CLOCK_SECONDS = 5.0
"""How far the clocks of an order's parts may be apart."""

DOUBT_SECONDS = 1.0
"""Until all positions are compared again, because a question was not answered in time."""

SEPARATE_PATTERNS = 4
"""Patterns whose rooms are asked for by themselves. With more of them one look at all rooms serves all, so that a check never takes longer
than the order needs for its rooms."""

EVERY_ROOM = ">"

MAX_REPAIRS = 32
"""Rooms that are repaired at the same time."""


class Repairs:
    """The repairs of one broker. `tell` is given changes of a room's roster."""

    def __init__(
        self, link: Link, questions: PatientQuestions, rooms: FollowedRooms, local: LocalMembers, patterns: FollowedPatterns,
        later: Later, tell: Callable[[FollowedRoom, Sequence[Change]], None],
    ) -> None:  # fmt: skip
        self._link = link
        self._questions = questions
        self._rooms = rooms
        self._local = local
        self._patterns = patterns
        self._later = later
        self._tell = tell
        self._places = asyncio.Semaphore(MAX_REPAIRS)
        self._check: asyncio.Task[None] | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._doubtful = False
        self.whole = False
        """Whether every room that a pattern matches is known, if it was published to since the pattern is followed."""
        self.seen = 0.0
        """The time of the newest live message, by the order's clock."""

    @property
    def at_rest(self) -> bool:
        """Whether the positions of this process are believed to be right: they were compared after the latest loss."""
        return self._check is None and not self._doubtful

    def close(self) -> None:
        """Ask for nothing more."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()

    def lost(self) -> None:
        """Messages may be missing from now on."""
        self.whole = self._doubtful = False
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def check(self, after_loss: bool) -> None:
        """Compare the positions of all rooms with those of the order, and repair those that differ. `after_loss`: the link was away."""
        if after_loss:
            self.lost()
        if self._check is None:
            self._check = self._begin(self._compare(after_loss))

    def _doubt(self) -> None:
        """A question had no answer in time: compare all positions again, as after a loss. After a loss itself that is done anyway."""
        if not self._doubtful:
            self._doubtful = True
            self._later(DOUBT_SECONDS, self._compare_again)

    def _compare_again(self) -> None:
        if self._doubtful and not self._closed:
            self.check(after_loss=True)

    def soon(self, room: FollowedRoom) -> None:
        """Repair a room, unless the message that is missing comes in the meantime."""
        if not room.repair_due and room.repair is None:
            room.repair_due = True
            self._later(REORDER_SECONDS, partial(self._if_due, room))

    def now(self, room: FollowedRoom, since: float | None = None) -> None:
        """Repair a room. `since`: its position is not known, and its members have not been given any message published after this time."""
        if room.repair is None and self._rooms.get(room.name) is room:
            room.repair = self._begin(self._repair(room, since))

    def roster(self, room: FollowedRoom) -> None:
        """Ask for a room's roster, because changes of it are missing."""
        if not room.roster_asked:
            room.roster_asked = True
            self._begin(self._ask_roster(room))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _if_due(self, room: FollowedRoom) -> None:
        room.repair_due = False
        if room.has_early and room.known and not room.behind:
            self.now(room)

    # -- one room

    async def _repair(self, room: FollowedRoom, since: float | None) -> None:
        error = None
        try:
            async with self._places:
                await self._ask_for_missing(room, since)
        except BrokerError as problem:
            error = problem
            self._doubt()
        finally:
            room.repair = None
            room.wake(None if error is None else partial(BrokerUnavailable, str(error)))
        if room.has_early and error is None:
            self.soon(room)

    async def _ask_for_missing(self, room: FollowedRoom, since: float | None) -> None:
        if not room.known:
            await self._find_position(room, since or 0.0)
        while room.known:
            position = room.position
            early = room.early_keys()
            page = await self._questions.ask(partial(self._link.history, room.name, position, PAGE_MESSAGES, False))
            if self._rooms.get(room.name) is not room:
                return
            if not self._continue_with(room, page, position, early):
                return
            if not self._give(room, page):
                return

    async def _find_position(self, room: FollowedRoom, since: float) -> None:
        """Find the position of a room of which the members were given nothing published after `since`; forget it if it does not exist."""
        place: Position | None = None
        while not room.known:
            page = await self._questions.ask(partial(self._link.history, room.name, place, PAGE_MESSAGES, False))
            if self._rooms.get(room.name) is not room or room.known:
                return
            if not page.epoch:
                self._rooms.forget(room)
                return
            if place is not None and page.gap:  # the room has begun anew meanwhile, or forgets faster than it is read
                place = None
            older = [message for message in page.messages if message.time <= since]
            offset = older[-1].offset if older else page.first - 1 if place is None else place.offset
            if older and len(older) == len(page.messages) and offset < page.offset:
                place = Position(page.epoch, offset)
                continue
            if not older and place is None and page.first > 1:
                self._rooms.break_off(room, page.epoch, offset, page.latest)
            room.epoch, room.offset, room.known = page.epoch, offset, True

    def _continue_with(self, room: FollowedRoom, page: HistoryPage, asked: Position, early: Collection[tuple[str, int]]) -> bool:
        """Tell the members of a break if the page shows one. False if the room does not exist any more.

        `asked`: the room's position when the question was asked, and `early` the messages that waited then.
        """
        if page.epoch == room.epoch:
            if page.epoch and page.offset < asked.offset:  # the order has lost messages that the members have
                self._rooms.break_off(room, page.epoch, page.offset, page.latest)
            elif page.first - 1 > room.offset:
                self._rooms.break_off(room, page.epoch, page.first - 1, page.latest)
        elif room.epoch or page.first > 1:
            self._rooms.break_off(room, page.epoch, page.first - 1, page.latest)
        else:  # the members know that the room did not exist, and this is its beginning
            room.epoch, room.offset = page.epoch, 0
            room.forget_recent()
        room.forget_early(early)
        if not page.epoch:
            self._rooms.forget(room)
        return bool(page.epoch)

    def _give(self, room: FollowedRoom, page: HistoryPage) -> bool:
        """Give the members the messages of a page. Whether the order has more of them."""
        for message in page.messages:
            if message.offset == room.offset + 1 and not self._rooms.take(room, message):
                return False  # the room is behind, and asks again
        room.forget_early()
        self._rooms.drain(room)
        return bool(page.messages) and room.offset < page.offset

    async def _ask_roster(self, room: FollowedRoom) -> None:
        try:
            roster = await self._questions.ask(partial(self._link.roster, room.name))
        except BrokerError:
            self._doubt()
            return
        finally:
            room.roster_asked = False
        if roster is not None and room.roster is not None:
            self._tell(room, room.take_roster(roster))

    # -- all rooms

    async def _compare(self, after_loss: bool) -> None:
        seen = self.seen - CLOCK_SECONDS
        try:
            await self._compare_known(after_loss)
            patterns = self._patterns.confirmed()
            if len(patterns) <= SEPARATE_PATTERNS:
                for pattern, followed in patterns.items():
                    await self._compare_pattern(pattern, followed.since)
            else:
                await self._compare_pattern(EVERY_ROOM, min(followed.since for followed in patterns.values()))
            for followed in patterns.values():
                followed.since = max(followed.since, seen)
            self.whole = True
        except BrokerError:
            self._doubt()
        finally:
            if self._check is asyncio.current_task():
                self._check = None

    async def _compare_known(self, after_loss: bool) -> None:
        for room in self._rooms.only_heard():
            if not room.known:
                self.meet(room.name)
        rooms = [room for room in self._rooms if room.known]
        for start in range(0, len(rooms), MAX_STANDINGS):
            some = rooms[start : start + MAX_STANDINGS]
            before = [room.position for room in some]
            standings = await self._questions.ask(partial(self._link.standings, [room.name for room in some]))
            for room, position in zip(some, before, strict=True):
                if self._rooms.get(room.name) is room:
                    self._compare_one(room, position, standings.get(room.name), after_loss)

    def _compare_one(self, room: FollowedRoom, before: Position, standing: Standing | None, after_loss: bool) -> None:
        """Compare a room with its standing. `before`: its position when the question was asked."""
        if standing is None:
            if room.members or after_loss:
                if room.epoch:
                    self.now(room)
            else:
                self._rooms.forget(room)
            return
        if standing.position.epoch != room.epoch:
            if room.epoch == before.epoch:
                self.now(room)
        elif standing.position.offset > room.offset or standing.position.offset < before.offset:
            self.now(room)
        place, known = standing.roster, room.roster_position
        if room.roster is not None and place is not None and (place.epoch != known.epoch or place.offset > known.offset):
            self.roster(room)

    async def _compare_pattern(self, pattern: str, since: float) -> None:
        """Begin with the rooms that match, that were published to after `since`, and of which nothing came live."""
        after: str | None = ""
        while after is not None:
            page = await self._questions.ask(partial(self._link.changed, pattern, since, after, MAX_STANDINGS))
            for name, standing in page.rooms:
                heard = self._patterns.since(name) if pattern == EVERY_ROOM else since
                if heard is not None and standing.time > heard and matches(pattern, name):
                    self.meet(name)
            after = page.after

    def meet(self, name: str) -> FollowedRoom | None:
        """Begin with a room of which no publication came live, though it may have had some. None if no pattern hears it."""
        room = self._rooms.get(name)
        if room is not None and (room.known or room.joins):
            return room
        since = self._patterns.since(name)
        if since is None:
            return None
        room = room or self._rooms.hear(name)
        self.now(room, since)
        return room
