"""The rooms of a mount for the program that runs the daemon, from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ...brokers.contract import HistoryPage, Position, PresencePage, Published, RoomPage
from .app import RoomsApp
from .visitor import Refused

T = TypeVar("T")


class RoomsHandle:
    """The rooms of one mount: `rooms["lobby"]` is the room of that name, which need not exist yet.

    Its methods, and those of a room, return a `concurrent.futures.Future`. In another thread wait for its `result()`; in a coroutine on
    the daemon's own loop write `await asyncio.wrap_future(...)`; or do not wait at all.
    """

    __slots__ = ("mount_rooms",)

    def __init__(self, app: RoomsApp) -> None:
        """Raises RuntimeError unless the daemon runs."""
        if app.rooms.loop is None:
            raise RuntimeError("the server does not run")
        self.mount_rooms = app.rooms

    def __getitem__(self, name: str) -> RoomHandle:
        return RoomHandle(self, name)

    def list(self, after: str = "", limit: int = 100, pattern: str | None = None) -> Future[RoomPage]:
        """Up to `limit` rooms, sorted by name, that match `pattern` and whose names come after `after`."""
        return self.call(self.mount_rooms.rooms(after, limit, pattern))

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Do `work` on the daemon's loop."""
        loop = self.mount_rooms.loop
        assert loop is not None
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop)
        except BaseException:
            work.close()
            raise
        return future


class RoomHandle:
    """One room, by name."""

    __slots__ = ("_rooms", "name")

    def __init__(self, rooms: RoomsHandle, name: str) -> None:
        self._rooms = rooms
        self.name = name

    def __repr__(self) -> str:
        return f"<room {self.name!r}>"

    def publish(self, message: str | bytes | bytearray | memoryview, *, key: str | None = None) -> Future[Published]:
        """Publish text (`str`) or binary data (`bytes`). The answer has the message's epoch and offset, and the number of its members.

        `key`: an idempotency key of up to 256 characters; the same key again publishes nothing. While the room is busy with earlier
        messages, the answer waits. The future raises BrokerError (bad_room, too_many_rooms, memory, rate_limited) or, on a mount with
        `publish = none`, Refused.
        """
        if isinstance(message, str):
            payload, text = message.encode(), True
        elif isinstance(message, bytes | bytearray | memoryview):
            payload, text = bytes(message), False
        else:
            raise TypeError(f"a message is str (text) or bytes (binary), not {type(message).__name__}")
        return self._rooms.call(self._publish(payload, text, key))

    async def _publish(self, payload: bytes, text: bool, key: str | None) -> Published:
        rooms = self._rooms.mount_rooms
        if rooms.rules.publish == "none":
            raise Refused("the mount has publish = none, so the program may not publish either")
        return await rooms.publish(self.name, payload, text, key=key)

    def history(self, since: Position | None = None, limit: int = 100, reverse: bool = False) -> Future[HistoryPage]:
        """A page of the room's history: oldest first from just after `since`, or with `reverse` newest first from just before it."""
        return self._rooms.call(self._rooms.mount_rooms.history(self.name, since, limit, reverse))

    def presence(self, limit: int | None = None) -> Future[PresencePage]:
        """The members of the room, and their number."""
        return self._rooms.call(self._rooms.mount_rooms.presence(self.name, limit))

    def position(self) -> Future[Position]:
        """The position of the room's last message. If a page is rendered after this, its client can connect with `?since=EPOCH:OFFSET` and
        misses no message between the page and the connection. If the room does not exist, the epoch is ""."""
        return self._rooms.call(self._position())

    async def _position(self) -> Position:
        page = await self._rooms.mount_rooms.history(self.name, None, 1, False)
        return Position(page.epoch, page.offset)
