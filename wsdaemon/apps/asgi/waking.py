"""A wait of one task that ends in the very turn of the loop in which its reason comes.

A future wakes its task in the loop's next turn. For an application that waits in `receive()` that turn would be the dearest part of a
message, and each answer would leave in a write of its own, instead of one write for all that was made in a read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Waking:
    """Awaited by one task at a time, again and again. The task knows it as a future: it has the methods that a task calls."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled = False

    @property
    def occupied(self) -> bool:
        """Whether a task waits."""
        return self._callback is not None

    def __await__(self) -> Generator[Waking, None, None]:
        self._asyncio_future_blocking = True
        yield self
        return self.result()

    def wake(self) -> None:
        """Let the task go on, before this returns if no task is running; else in the loop's next turn."""
        callback, self._callback = self._callback, None
        if callback is None:
            return
        if asyncio.current_task(self._loop) is None and self._context is not None:
            self._context.run(callback, self)
        else:
            self._loop.call_soon(callback, self, context=self._context)

    # -- called by the task

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._callback = callback
        self._context = context

    def result(self) -> None:
        """CancelledError if the task was cancelled in its wait."""
        if self._cancelled:
            self._cancelled = False
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled."""
        callback, self._callback = self._callback, None
        if callback is None:
            return False
        self._cancelled = True
        self._loop.call_soon(callback, self, context=self._context)
        return True
