"""The messages that came and that an `async for` has not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque

MAX_WAITING = 64
"""Messages that wait; with so many the connection reads no further."""


class Arrived:
    """A bounded queue between a connection and one iteration. Used on the client's loop alone."""

    __slots__ = ("_ended", "_error", "_loop", "_messages", "_room", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[str | bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None

    def put(self, message: str | bytes) -> asyncio.Future[None] | None:
        """Add a message; a future when no more should come before it is done."""
        self._messages.append(message)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if len(self._messages) < MAX_WAITING:
            return None
        if self._room is None:
            self._room = self._loop.create_future()
        return self._room

    def end(self, error: BaseException | None) -> None:
        """No more messages will come."""
        self._ended, self._error = True, error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def get(self) -> str | bytes:
        """The next message. At the end StopAsyncIteration, or the error of end(). RuntimeError when two wait at once."""
        messages = self._messages
        while not messages:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("one task at a time can take the messages of a client")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = messages.popleft()
        if self._room is not None and len(messages) < MAX_WAITING // 2:
            self._make_room()
        return message
