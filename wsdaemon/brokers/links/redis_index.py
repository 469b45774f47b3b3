"""The index of a mount's rooms: their names, their number, and their owners' shares of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from .. import Limits
from ..account import share
from ..errors import BrokerError, TooManyRooms
from .redis_keys import Names
from .redis_place_scripts import RELEASE, RESERVE
from .redis_publishing import Common
from .redis_scripts import FORGET
from .redis_session import RedisSession

SWEPT_ROOMS = 50
"""Rooms that one sweep looks at."""

NEVER_SECONDS = 1e9
"""A room that has come back meanwhile is not unused for as long."""

ENTERED_SECONDS = 60.0
"""A room that is gone leaves the index if nothing has entered or touched it for so long: a new room is in the index before it is made."""

BATCH = 500
"""Rooms of one command."""

UNLIMITED = 1 << 53
"""More rooms than any limit allows."""


class RoomIndex:
    """The index. It lies in one slot of a cluster, and the rooms lie in their own, so it may have rooms that are gone; they are swept."""

    def __init__(self, names: Names, limits: Limits, common: Callable[[str], Common]) -> None:
        self._names = names
        self._limits = limits
        self._common = common
        self._cursor = ""  # the last room that a sweep of endless histories looked at

    async def reserve(self, session: RedisSession, room: str, owner: str) -> None:
        """Give a new room its place, if need be that of the oldest empty one. TooManyRooms, BrokerUnavailable."""
        limits = self._limits
        for attempt in (1, 2):
            answer = await session.ask(
                RESERVE, self._names.index, room, owner, limits.max_rooms, share(limits.max_rooms), _now(), whole=False
            )
            if answer[0] == b"ok":
                return
            if attempt == 1:
                await self._forget_one(session, [oldest.decode() for oldest in answer[1]])
        if answer[0] == b"share":
            raise TooManyRooms(
                f"this address or user has {share(limits.max_rooms)} rooms, an eighth of all that there may be, and none that could go"
            )
        raise TooManyRooms(f"there are {limits.max_rooms} rooms, and none of them is empty")

    async def _forget_one(self, session: RedisSession, rooms: Sequence[str]) -> None:
        """Forget the first empty one of these rooms: one that has been unused for long, or else any."""
        for idle in (self._limits.room_idle, 0.0):
            for room in rooms:
                if await self._forget(session, room, idle):
                    return

    async def _forget(self, session: RedisSession, room: str, idle: float) -> bool:
        """Forget a room if it is empty, and unused for `idle` seconds. Whether it is gone.

        It leaves the index first: a publisher that comes in between finds the room, or makes it anew and enters it.
        """
        owners = self._names.index[2]
        owner = await session.command(owners, "HGET", owners, room) or b""
        await session.ask(RELEASE, self._names.index, room, whole=False)
        try:
            gone, used = await session.ask(FORGET, self._names.room(room), *self._common(room), round(idle * 1000))
        except BrokerError:
            await self._put_back(session, room, owner.decode(), _now())
            raise
        if gone == b"gone":
            return True
        await self._put_back(session, room, owner.decode(), int(used))
        return False

    async def _put_back(self, session: RedisSession, room: str, owner: str, used: int) -> None:
        """Enter a room that stays, whatever number of rooms there is. `used`: when it was, in milliseconds since 1970."""
        await session.ask(RESERVE, self._names.index, room, owner, UNLIMITED, UNLIMITED, used, whole=False)

    async def touch(self, session: RedisSession, rooms: Sequence[str]) -> None:
        """These rooms exist and are used now."""
        names, used, *_ = self._names.index
        for start in range(0, len(rooms), BATCH):
            some = rooms[start : start + BATCH]
            await session.command(names, "ZADD", names, "NX", *[part for room in some for part in (0, room)])
            now = _now()
            await session.command(used, "ZADD", used, *[part for room in some for part in (now, room)])

    async def sweep(self, session: RedisSession) -> int:
        """Forget some rooms that have been unused for long, and if histories are endless, some that are gone. Their number."""
        if math.isinf(self._limits.keep):
            return await self._sweep_gone(session)
        used = self._names.index[1]
        idle = self._limits.keep
        found = await session.command(used, "ZRANGEBYSCORE", used, "-inf", _now() - round(idle * 1000), "LIMIT", 0, SWEPT_ROOMS)
        for room in found:
            await self._forget(session, room.decode(), idle)
        return len(found)

    async def _sweep_gone(self, session: RedisSession) -> int:
        """Look at the next SWEPT_ROOMS rooms of the index, and forget those that the server has lost or evicted."""
        rooms = await self.list(session, self._cursor, SWEPT_ROOMS)
        self._cursor = rooms[-1] if len(rooms) == SWEPT_ROOMS else ""
        metas = [self._names.room(room)[0] for room in rooms]
        found = await asyncio.gather(*[session.command(meta, "EXISTS", meta) for meta in metas])
        gone = [room for room, exists in zip(rooms, found, strict=True) if not exists and await self._is_old(session, room)]
        for room in gone:
            await self._forget(session, room, NEVER_SECONDS)
        return len(gone)

    async def _is_old(self, session: RedisSession, room: str) -> bool:
        used = self._names.index[1]
        return float(await session.command(used, "ZSCORE", used, room) or 0) < _now() - ENTERED_SECONDS * 1000

    async def count(self, session: RedisSession) -> int:
        """The number of rooms in the index."""
        names = self._names.index[0]
        return int(await session.command(names, "ZCARD", names))

    async def list(self, session: RedisSession, after: str, limit: int) -> list[str]:
        """Up to `limit` names after `after`, in order."""
        names = self._names.index[0]
        found = await session.command(names, "ZRANGEBYLEX", names, f"({after}" if after else "-", "+", "LIMIT", 0, limit)
        return [name.decode() for name in found]


def _now() -> int:
    """Milliseconds since 1970 by this machine's clock; rooms are only put into an order by it."""
    return round(time.time() * 1000)
