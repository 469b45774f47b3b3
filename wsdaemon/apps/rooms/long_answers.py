"""Long answers: pages of a history and lists of members. Each turn of the loop makes one of them, however many clients ask at once."""

from __future__ import annotations

import asyncio
from collections import deque


class LongAnswers:
    """The turns of one mount, first come, first served. If a thousand clients come back at once, other clients have their turn in between.

    Each connection waits for one turn at most, because its requests are handled one after the other.
    """

    __slots__ = ("_taken", "_waiting")

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """The number of connections that wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """Wait until a turn of the loop is free, which the caller then uses without another wait."""
        loop = asyncio.get_running_loop()
        if self._taken:
            future = loop.create_future()
            self._waiting.append(future)
            await future
        else:
            self._taken = True
            loop.call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # not cancelled with its connection
                future.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
