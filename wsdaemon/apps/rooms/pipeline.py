"""Publications of one plain client that are under way to an order in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...brokers.contract import Published

MAX_UNDER_WAY = 64
"""Publications of one connection under way at once. The connection reads no further until one of them is answered."""


class Pipeline:
    """The publications of one connection that have no answer yet. `failed` is called with the error of each that fails."""

    __slots__ = ("_count", "_failed", "_space")

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._count = 0
        self._space: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """The number of publications that have no answer yet."""
        return self._count

    def add(self, answer: asyncio.Future[Published]) -> asyncio.Future[None] | None:
        """Wait for one more answer. None, or a future that is done when the connection may go on reading."""
        self._count += 1
        answer.add_done_callback(self._answered)
        if self._count < MAX_UNDER_WAY:
            return None
        if self._space is None:
            self._space = answer.get_loop().create_future()
        return self._space

    def _answered(self, answer: asyncio.Future[Published]) -> None:
        self._count -= 1
        space, self._space = self._space, None
        if space is not None and not space.done():
            space.set_result(None)
        if not answer.cancelled() and (error := answer.exception()) is not None:
            self._failed(error)
