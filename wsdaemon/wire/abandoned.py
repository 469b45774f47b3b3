"""Work of the user's code for a connection that is over: a mount with `on_disconnect = cancel` gives it some time, and then cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..core.background import Background
from ..core.wheel import Wheel


class Abandoned:
    """The work of one connection at the time of its end. It leaves the wheel as soon as all of it is done."""

    __slots__ = ("_background", "_left", "_wheel", "due_bucket")

    def __init__(self, work: Sequence[asyncio.Future[Any]], background: Background, wheel: Wheel, grace: float) -> None:
        """`grace`: seconds that the work has. While a daemon stops, it has until `drain_timeout`, and `background` cancels it."""
        self._background = background
        self._wheel = wheel
        self._left = set(work)
        self.due_bucket = 0
        wheel.set(self, grace)
        for each in work:
            each.add_done_callback(self._done)

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._left.discard(work)
        if not self._left:
            self._wheel.clear(self)

    def due(self) -> None:
        if not self._background.ending:
            for work in list(self._left):
                work.cancel()
