"""The events that wait for an application's `receive()`: bounded, in order, and exactly one disconnect as the last."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from ...core.contract import READ_AHEAD, READ_AHEAD_BYTES
from .waking import wake, wake_now

Event = dict[str, Any]


class ClientDisconnected(OSError):
    """Raised by `send()` after the connection is over, and by `receive()` after its disconnect event was received."""

    def __init__(self) -> None:
        super().__init__("the WebSocket is closed")


class Inbox:
    """The events of one client that its application has not received yet.

    An application that waits gets a message as the result of its wait, and goes on with it before `put` returns.
    """

    __slots__ = ("_connect", "_end", "_later", "_loop", "_queue", "_size", "_space", "_told", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connect = True
        self._queue: deque[Event] = deque()
        self._size = 0
        """Of the messages in the queue."""
        self._space: asyncio.Future[None] | None = None
        self._end: tuple[int, str] | None = None
        self._told = False
        self._waiter: asyncio.Future[Event | None] | None = None
        """The first task that waits in receive(). Its result is an event, or None: then it looks into the queue."""
        self._later: list[asyncio.Future[None]] = []
        """Further tasks of the application that wait in receive() too."""

    @property
    def is_over(self) -> bool:
        """Whether the disconnect event is there, received or not."""
        return self._end is not None

    async def receive(self) -> Event:
        """The next event. ClientDisconnected after the disconnect event."""
        if self._connect:
            self._connect = False
            return {"type": "websocket.connect"}
        while not self._queue:
            if self._end is not None:
                return self._last(*self._end)
            if self._waiter is not None:
                await self._wait_beside()
                continue
            waiter: asyncio.Future[Event | None] = self._loop.create_future()
            self._waiter = waiter
            try:
                event = await waiter
            except asyncio.CancelledError:
                self._wake_later()  # one of the others takes its place
                raise
            finally:
                if self._waiter is waiter:
                    self._waiter = None
            if event is not None:
                return event
        event = self._queue.popleft()
        size = self._size = self._size - _size_of(event)
        if self._space is not None and len(self._queue) <= READ_AHEAD // 2 and size <= READ_AHEAD_BYTES // 2:
            self._make_space()
        return event

    def _last(self, code: int, reason: str) -> Event:
        if self._told:
            raise ClientDisconnected
        self._told = True
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    def put(self, message: str | bytes) -> Awaitable[None] | None:
        """Add a message. The result is done when there is room for more."""
        event: Event = {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}
        waiter = self._waiter
        if waiter is not None and wake_now(waiter, event):
            return None
        self._queue.append(event)
        self._size += len(message)
        self._look(waiter)
        if len(self._queue) < READ_AHEAD and self._size < READ_AHEAD_BYTES:
            return None
        self._space = self._loop.create_future()
        return self._space

    def end(self, code: int, reason: str) -> None:
        """Add the disconnect event. A second one is none."""
        if self._end is None:
            self._end = code, reason
            self._look(self._waiter)
            self._wake_later()
            self._make_space()

    def _look(self, waiter: asyncio.Future[Event | None] | None) -> None:
        """Let the application look into the queue: the event stays there, because a task that is woken in a later turn may be cancelled."""
        if waiter is not None and not waiter.done():
            self._waiter = None
            wake(waiter, None)
        elif self._later:
            self._wake_later()

    async def _wait_beside(self) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._later.append(future)
        try:
            await future
        finally:
            if future in self._later:
                self._later.remove(future)

    def _wake_later(self) -> None:
        later, self._later = self._later, []
        for future in later:
            if not future.done():
                future.set_result(None)

    def _make_space(self) -> None:
        space, self._space = self._space, None
        if space is not None and not space.done():
            space.set_result(None)


def _size_of(event: Event) -> int:
    return len(event["text"] if "text" in event else event["bytes"])
