"""A clock to turn: the loop's own, ahead of the real one."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

STEP_SECONDS = 0.25
"""Time passes from timer to timer, or in steps if the loop does not tell when its timers are due: a daemon whose loop was away for longer
gives its clients more time."""

TURNS = 3
"""Of the loop, for all that becomes due in a step."""


class TurnedClock:
    """While the block lasts, `advance()` lets the time of the running loop pass: for pings, timeouts, lifetimes, and timers of the app."""

    def __init__(self) -> None:
        """RuntimeError if no loop runs, or one whose clock cannot be turned, such as uvloop's."""
        loop: Any = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):
            raise RuntimeError(f"the clock of {type(loop).__module__} cannot be turned: run the test on a loop of asyncio's own")
        self._loop = loop
        self._real = loop.time
        self._ahead = 0.0

    def __enter__(self) -> Self:
        self._loop.time = self._time  # type: ignore[method-assign]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.time = self._real  # type: ignore[method-assign]

    def _time(self) -> float:
        return self._real() + self._ahead

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, and whatever becomes due in them happen."""
        end = self._ahead + seconds
        while self._ahead < end:
            self._ahead = min(end, self._ahead + self._step())
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _step(self) -> float:
        """Seconds until the next timer is due."""
        scheduled: list[asyncio.TimerHandle] | None = getattr(self._loop, "_scheduled", None)
        if scheduled is None:
            return STEP_SECONDS
        due = min((timer.when() for timer in scheduled if not timer.cancelled()), default=float("inf"))
        return max(0.001, due - self._time())
