"""Coroutines that run at once as far as they can: what has nothing to wait for needs no task."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


def eagerly(work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run `work` up to its first wait. None when it is done, else an awaitable of the rest, which must be awaited. Its errors come through.

    Only for coroutines that wait for plain futures, or asyncio.sleep(0): until that first wait there is no current task.
    """
    try:
        future = work.send(None)
    except StopIteration:
        return None
    return _Rest(work, future)


class _Rest:
    """A coroutine that waits for `future` already."""

    __slots__ = ("_future", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], future: Any) -> None:
        self._work = work
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        step, value = self._work.send, None
        awaited = self._future
        while True:
            try:
                value = yield awaited
                step = self._work.send
            except BaseException as error:  # a cancellation, too, is the coroutine's own
                step, value = self._work.throw, error
            try:
                awaited = step(value)
            except StopIteration:
                return
