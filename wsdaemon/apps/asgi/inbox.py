"""The events that wait for an application's `receive()`: bounded, in order, and exactly one disconnect as the last."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from ...core.contract import READ_AHEAD, READ_AHEAD_BYTES
from .waking import Waking

Event = dict[str, Any]


class ClientDisconnected(OSError):
    """Raised by `send()` after the connection is over, and by `receive()` after its disconnect event was received."""

    def __init__(self) -> None:
        super().__init__("the WebSocket is closed")


class Inbox:
    """The events of one client that its application has not received yet."""

    __slots__ = ("_connect", "_end", "_later", "_loop", "_messages", "_size", "_space", "_told", "_waking")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connect = True
        self._messages: deque[str | bytes] = deque()
        self._size = 0
        self._space: asyncio.Future[None] | None = None
        self._end: tuple[int, str] | None = None
        self._told = False
        self._waking = Waking(loop)
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
        messages, waking = self._messages, self._waking
        while not messages:
            if self._end is not None:
                return self._last(*self._end)
            if waking.occupied:
                await self._wait_beside()
            else:
                await waking
        message = messages.popleft()
        size = self._size = self._size - len(message)
        if self._space is not None and len(messages) <= READ_AHEAD // 2 and size <= READ_AHEAD_BYTES // 2:
            self._make_space()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    def _last(self, code: int, reason: str) -> Event:
        if self._told:
            raise ClientDisconnected
        self._told = True
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    def put(self, message: str | bytes) -> Awaitable[None] | None:
        """Add a message. The result is done when there is room for more."""
        messages = self._messages
        messages.append(message)
        self._size += len(message)
        if self._waking.occupied:
            self._waking.wake()
        elif self._later:
            self._wake_later()
        if len(messages) < READ_AHEAD and self._size < READ_AHEAD_BYTES:
            return None
        self._space = self._loop.create_future()
        return self._space

    def end(self, code: int, reason: str) -> None:
        """Add the disconnect event. A second one is none."""
        if self._end is None:
            self._end = code, reason
            self._waking.wake()
            self._wake_later()
            self._make_space()

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
