"""The questions of a link that change nothing: histories, rosters, lists of rooms, positions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar

from .. import Limits
from ..contract import HistoryPage, Position, PresencePage, RoomInfo, RoomPage
from ..patterns import matches
from .contract import Roster, Standing, StandingPage
from .redis_index import RoomIndex
from .redis_keys import Names
from .redis_messages import last_message, log_messages, members_in_order
from .redis_publishing import Common
from .redis_scripts import HISTORY, ROSTER, STAND
from .redis_session import RedisSession

PRESENCE_SECONDS = 30.0
"""How long the members of a process that has died stay in their rooms."""

UNDER_WAY = 200
"""Questions for as many rooms that are asked at one time."""

T = TypeVar("T")


class Reading:
    """Asks for what a mount's rooms have."""

    def __init__(self, names: Names, limits: Limits, index: RoomIndex, common: Callable[[str], Common]) -> None:
        self._names = names
        self._limits = limits
        self._index = index
        self._common = common
        self.kept = limits.history_count, round((limits.history_age or 0) * 1000), limits.history_bytes
        """A room's history: the most messages, their age in milliseconds, their bytes."""

    async def history(self, session: RedisSession, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        place = ("", 0) if since is None else since
        answer = await session.ask(
            HISTORY, self._names.room(room), *self._common(room), *self.kept, int(self._limits.latest), *place, limit, int(reverse)
        )
        if answer[0] == b"absent":
            return HistoryPage(room, "", 0, 1, gap=since is not None)
        _, epoch, offset, first, gap, messages, newest = answer
        life = epoch.decode()
        latest = last_message(room, life, newest) if gap else None
        return HistoryPage(room, life, int(offset), int(first), log_messages(room, life, messages), bool(gap), latest)

    async def presence(self, session: RedisSession, room: str, limit: int | None) -> PresencePage:
        roster = await self.roster(session, room)
        members = () if roster is None else roster.members
        return PresencePage(len(members), members[:limit])

    async def roster(self, session: RedisSession, room: str) -> Roster | None:
        answer = await session.ask(ROSTER, self._names.room(room), *self._common(room))
        if answer[0] == b"absent":
            return None
        _, epoch, number, members = answer
        return Roster(Position(epoch.decode(), int(number)), members_in_order(members))

    async def rooms(self, session: RedisSession, after: str, limit: int, pattern: str | None) -> RoomPage:
        found: list[RoomInfo] = []
        while True:
            names = await self._index.list(session, after, limit + 1)
            matching = [name for name in names if pattern is None or matches(pattern, name)]
            for name, answer in await self._existing(session, matching):
                found.append(RoomInfo(name, answer[1].decode(), int(answer[2]), answer[6], answer[7]))
                if len(found) > limit:
                    return RoomPage(tuple(found[:limit]), found[limit - 1].room)
            if len(names) <= limit:
                return RoomPage(tuple(found), None)
            after = names[-1]

    async def stand(self, session: RedisSession, room: str, node: str) -> Any:
        """The answer of STAND. `node`: the process whose members there live on; empty for none."""
        return await session.ask(STAND, self._names.room(room), *self._common(room), node, round(PRESENCE_SECONDS * 1000), *self.kept)

    async def _existing(self, session: RedisSession, rooms: Sequence[str]) -> list[tuple[str, Any]]:
        answers = await in_turns([self.stand(session, room, "") for room in rooms])
        return [(room, answer) for room, answer in zip(rooms, answers, strict=True) if answer[0] != b"absent"]

    async def standings(self, session: RedisSession, rooms: Sequence[str]) -> Mapping[str, Standing]:
        return {room: _standing(answer) for room, answer in await self._existing(session, rooms)}

    async def changed(self, session: RedisSession, pattern: str, since: float, after: str, limit: int) -> StandingPage:
        names = await self._index.list(session, after, limit + 1)
        matching = [name for name in names[:limit] if matches(pattern, name)]
        found = [(room, _standing(answer)) for room, answer in await self._existing(session, matching)]
        news = tuple([(room, standing) for room, standing in found if standing.time >= since])
        return StandingPage(news, names[limit - 1] if len(names) > limit else None)


async def in_turns(questions: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers to many questions, with some of them under way at a time. If it is cancelled, those that wait are not asked."""
    turn = asyncio.Semaphore(UNDER_WAY)

    async def one(question: Coroutine[Any, Any, T]) -> T:
        async with turn:
            return await question

    try:
        return await asyncio.gather(*[one(question) for question in questions])
    except asyncio.CancelledError:
        for question in questions:
            if getcoroutinestate(question) is CORO_CREATED:
                question.close()
        raise


def _standing(answer: Any) -> Standing:
    _, epoch, offset, time, roster, number, *_ = answer
    return Standing(Position(epoch.decode(), int(offset)), int(time) / 1000, Position(roster.decode(), int(number)))
